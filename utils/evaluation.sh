#!/usr/bin/env bash
# Stages 7 and 8 of avsep.sh, separation and scoring; to be sourced after utils/jobs.sh and
# utils/stage_options.sh. The options of avsep.sh are read by their names.

# shellcheck disable=SC2154  # the options of avsep.sh, and its eval_sets, sources_of, ...

# Whether the system tells what sounds: true or false; score finds out.
grounds=

# set_made_by: set _made_by to options on what made the features that the model is given
set_made_by() {
    local dset kind
    _made_by=()
    for dset in ${eval_sets}; do
        for kind in visual ${conditions}; do
            need "${data_feats}/${dset}/${kind}_info.yaml" 2
            _made_by+=(--made_by "${data_feats}/${dset}/${kind}_info.yaml")
        done
    done
}

# separate <folder of the results> <options> <sets>: note stage 7's commands
separate() {
    local dset number data dir split n tables=("spkN.scp,speech_refN,sound")
    local system=(avsep_baseline --config "${avsep_exp}/config.yaml")
    if "${trained}"; then
        tables=("visual_spkN.scp,visual_refN,kaldi_ark" "${_condition_tables[@]}")
        system=(avsep_inference --train_config "${avsep_exp}/config.yaml"
            --model_file "${avsep_exp}/${inference_model}"
            --ngpu "$("${gpu_inference}" && echo 1 || echo 0)"
            --batch_size "${inference_batch_size}")
    fi
    mkdir -p "$1"
    rm -f "$1/inference_args"
    for dset in $3; do
        data=${data_feats}/${dset} dir=$1/separated_${dset} number=${sources_of[${dset}]}
        need "${data}/wav.scp" 4
        set_triples "${data}" "${number}" wav.scp,speech_mix,sound "${tables[@]}"
        split_jobs "${data}/wav.scp" "${dir}/logs/keys.JOB.scp" "${inference_nj}"
        # Another inference_nj has other folders, and so begins anew.
        split=${dir}/split${num_pieces}
        # What is there is of an earlier run until all jobs have ended.
        rm -f "${dir}/made_from.json"
        # shellcheck disable=SC2086  # options are several words
        step_if "${dir}/logs/keys.JOB.scp" "${system[@]}" --key_file "${dir}/logs/keys.JOB.scp" \
            --output_dir "${split}/JOB" --fs "${fs}" "${_data[@]}" $2
        merge_later "${num_pieces}" "${dir}/logs/keys.JOB.scp" "${split}/JOB" "${dir}"
        for ((n = 1; n <= number; n++)); do
            merges+=("spk${n}.content" "spk${n}.scp" "once:spk${n}.scp")
        done
        # All jobs have the same but for paths.
        merges+=(first:made_from.json)
    done
}

# score <folder of the results> <options of the separation> <real sets>: note stage 8's commands
score() {
    local dset number data dir n used results=() pairs
    [ -f "$1/inference_args" ] ||
        die "$1/inference_args is missing: stage 7 has not been finished." \
            "Stage 7 writes it: run '--stage 7 --stop_stage 7' first"
    used=$(cat "$1/inference_args")
    if [ "${used}" != "$2" ] && is_given inference_args; then
        die "--inference_args '${inference_args}': stage 7 was run with '${used}'. Run stage 7 again"
    fi
    if [ -z "${grounds}" ] && "${trained}" && [ -e "${avsep_exp}/config.yaml" ]; then
        grounds=$("${python}" -m espnet2_avsep.bin.avsep_config --get grounds "${avsep_exp}/config.yaml")
    fi
    for dset in ${eval_sets}; do
        data=${data_feats}/${dset} dir=$1/separated_${dset} number=${sources_of[${dset}]}
        pairs=()
        need "${data}/mixtures.tsv" 4
        for ((n = 1; n <= number; n++)); do
            need "${dir}/spk${n}.scp" 7
            pairs+=(--ref_scp "${data}/spk${n}.scp" --inf_scp "${dir}/spk${n}.scp")
        done
        # The mixtures' own scores are kept for every system that is scored on them.
        # shellcheck disable=SC2086  # scoring_opts is several words
        step avsep_scoring "${pairs[@]}" --separated_dir "${dir}" --mix_scp "${data}/wav.scp" \
            --mixtures "${data}/mixtures.tsv" --mix_scores "${data}/mixture_scores.tsv" \
            --output_dir "$1/scored_${dset}" --backend "${scoring_backend}" ${scoring_opts}
        results+=(--set "${dset}:$1/scored_${dset}:${data}")
        # Of systems that also tell what sounds.
        rm -f "$1/grounded_${dset}/grounding.tsv"
        ! "${grounds:-false}" ||
            step avsep_score_grounding --train_config "${avsep_exp}/config.yaml" \
                --model_file "${avsep_exp}/${inference_model}" --set_dir "${data}" \
                --output_dir "$1/grounded_${dset}"
    done
    if [ "${leak_check}" != false ]; then
        need "${data_feats}/leaks.tsv" 4
        results+=(--leaks "${data_feats}/leaks.tsv" --leak_free "${leak_free}")
    fi
    for dset in $3; do
        need "$1/separated_${dset}/spk1.scp" 7
        results+=(--real_set "${dset}:$1/separated_${dset}:${data_feats}/${dset}")
    done
    step avsep_results --avsep_exp "${avsep_exp}" --inference_model "${inference_model}" \
        --corpus_note "${corpus_note}" --inference_args="${used}" \
        --training_set "${train_set}:${data_feats}/${train_set}" --output "$1/RESULTS.md" \
        "${results[@]}"
}

# write_reports: run stage 8's commands, write the page on their results, and say where all is
write_reports() {
    local dset number n leaks=()
    [ "${leak_check}" = false ] || leaks=(--leaks "${data_feats}/leaks.tsv")
    # shellcheck disable=SC2086  # sets are several words
    ! "${report}" ||
        step avsep_report --experiment "${inference_dir}" --sets ${eval_sets} \
            --real_sets ${real_sets} --data_dir "${datadir}" --dump_dir "${data_feats}" \
            --output_dir "${inference_dir}/report" --max_mixtures "${report_mixtures}" \
            --inference_model "${inference_model}" --corpus_note "${corpus_note}" "${leaks[@]}"
    run_steps "Scores and results" "${inference_dir}/scoring.log" "${decode_cmd}"
    # Up to the second heading: the scores.
    awk '/^## / && n++ { exit } { print }' "${inference_dir}/RESULTS.md"
    log "This table, those of each instrument and all settings: ${inference_dir}/RESULTS.md"
    ! "${report}" || log "Look and listen: ${inference_dir}/report/index.html (open it in a browser)"
    for dset in ${eval_sets} ${real_sets}; do
        [ "${dset}" != "${valid_set}" ] || continue
        log "Listen, for example: the mixture $(head -n 1 "${data_feats}/${dset}/wav.scp" | cut -d ' ' -f 2-)"
        number=${sources_of[${dset}]}
        for ((n = 1; n <= number; n++)); do
            log "  separated, source ${n}: $(head -n 1 "${inference_dir}/separated_${dset}/spk${n}.scp" | cut -d ' ' -f 2-)"
        done
    done
}
