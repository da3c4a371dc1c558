#!/usr/bin/env bash
# Stage 2 of avsep.sh, visual and motion features; to be sourced after utils/jobs.sh,
# utils/write_file.sh and utils/stage_options.sh. The options of avsep.sh are read by their names.

# shellcheck disable=SC2154  # the options of avsep.sh, and its all_sets, real_sets, data_feats

# check_feature_paths: what the options of stage 2 name must be there
check_feature_paths() {
    [ -z "${motion_precomputed}" ] || [ -d "${motion_precomputed}" ] ||
        die "--motion_precomputed '${motion_precomputed}': no such folder"
    [ -z "${visual_boxes}" ] || [ "${visual_boxes}" = detector ] || [ -d "${visual_boxes}" ] ||
        die "--visual_boxes '${visual_boxes}': expected detector, or a folder of box files"
    [ -z "${visual_precomputed}" ] || [ -f "${visual_precomputed}" ] ||
        die "--visual_precomputed '${visual_precomputed}': no such file"
}

# visual_features: of all sets, and of the halves of the pictures of real sets if wanted
visual_features() {
    local _opts=(--allow_empty true --allow_pipes "${allow_pipes}") part parts=${all_sets}
    local columns="video_scp output_dir wav_scp utt2clip" weights=${visual_pretrained}
    add_opts audio_stream precomputed=visual_precomputed
    if [ -n "${visual_precomputed}" ]; then
        log "Features are taken as they are from ${visual_precomputed}"
        weights=
    else
        if [ "${visual_encoder}" = frames ]; then
            log "Pictures are packed as they are, ${visual_size} x ${visual_size} pixels"
            [ "${visual_boxes}" = detector ] || weights=
        else
            log "Encoder: ${visual_encoder} ${visual_model}, weights: ${visual_pretrained}"
            [ "${visual_pretrained}" != random ] ||
                log "Note: these weights are RANDOM, the encoder has learnt nothing" \
                    "(--visual_pretrained openai fetches CLIP's)"
            if "${one_pass}"; then
                columns+=" audio_dir"
                add_opts fs audio_format
            fi
        fi
        add_opts visual_encoder visual_model visual_pretrained fps=visual_fps \
            every=visual_every batch_size=visual_batch_size visual_size \
            device=visual_device dtype=visual_dtype
    fi
    if [ -n "${visual_boxes}" ]; then
        log "Pictures are cropped to boxes: ${visual_boxes}" \
            "$([ "${visual_boxes}" != detector ] || echo "${box_detector}, weights: ${box_pretrained}")"
        add_opts visual_boxes box_detector box_pretrained box_score box_margin box_fps \
            box_batch_size box_classes box_size
    fi
    if [ "${duet_prompts}" = halves ] && [ -n "${real_sets}" ]; then
        columns+=" region"
        for part in ${real_sets}; do
            parts+=" ${part}/left ${part}/right"
        done
    fi
    add_words "${visual_args}"
    # shellcheck disable=SC2086  # several sets
    extract visual "${columns}" "${weights}" ${parts}
    for part in ${visual_boxes:+${parts}}; do
        count_boxes "${part}"
    done
}

# count_boxes <set or set/part>: add the numbers of boxes to visual_info.yaml
count_boxes() {
    local dir=${data_feats}/$1 whole info
    set_count "${dir}/visual_boxes.tsv"
    whole=$(grep -c 'whole_frame$' "${dir}/visual_boxes.tsv" || true)
    info=$(< "${dir}/visual_info.yaml")
    info+=$'\n'"box_rows: ${num_lines}"$'\n'"box_rows_whole: ${whole}"
    write_file "${dir}/visual_info.yaml" "${info}"
    log "$1: ${whole} of ${num_lines} pictures have no box and stay whole (${dir}/visual_boxes.tsv)"
    [ "${whole}" -ne "${num_lines}" ] || log "Note: NO picture of $1 has a box;" \
        "look at --visual_boxes, --box_classes and --box_score"
}

# motion_features: of all sets, if wanted
motion_features() {
    local _opts=(--allow_empty true --allow_pipes "${allow_pipes}") columns weights=
    add_opts audio_stream motion_precomputed
    if [ -n "${motion_precomputed}" ]; then
        log "Motion features are taken as they are from ${motion_precomputed}"
        columns="video_scp output_dir utt2clip"
    elif [ -n "${motion_encoder}" ]; then
        log "Motion: ${motion_encoder}, weights: ${motion_pretrained:-none, a classical method}"
        [ "${motion_pretrained}" != random ] ||
            log "Note: these weights are RANDOM, the network has learnt nothing"
        columns="video_scp output_dir wav_scp" weights=${motion_pretrained}
        add_opts motion_encoder motion_rate motion_pretrained batch_size=motion_batch_size \
            device=visual_device dtype=visual_dtype
    else
        return 0
    fi
    add_words "${motion_args}"
    # shellcheck disable=SC2086  # several sets
    extract motion "${columns}" "${weights}" ${all_sets}
}

# extract <visual|motion> <columns> <weights> <set or set/part of the picture> ...: run the
# jobs with the options _opts. All sets in one pass: a job does its piece of each with one
# encoder; each of <columns> has a word for a set, "-" where it has no such table. Without
# <weights>, the weights are not checked before the jobs.
extract() {
    local kind=$1 columns=$2 weights=$3 part dset dir column tables=() launcher=${train_cmd}
    # shellcheck disable=SC2034  # used by their names
    local video_scp=() output_dir=() audio_dir=() wav_scp=() utt2clip=() region=()
    shift 3
    [ "${visual_device}" != cuda ] || launcher="${cuda_cmd} --gpu 1"
    for part in "$@"; do
        dset=${datadir}/${part%/*}
        dir=${data_feats}/${part}
        need "${dset}/video.scp" 1
        split_jobs "${dset}/video.scp" "${dir}/logs/video.JOB.scp" "${nj}"
        video_scp+=("${dir}/logs/video.JOB.scp")
        # Another nj has other folders, and so begins anew.
        output_dir+=("${dir}/${kind}_split${num_pieces}/JOB")
        # Where stage 3 will look for what is finished.
        audio_dir+=("${data_feats}/org/${part%/*}/format_split${num_pieces}/JOB")
        wav_scp+=("$([ -f "${dset}/wav.scp" ] && echo "${dset}/wav.scp" || echo -)")
        utt2clip+=("$([ -f "${dset}/utt2clip" ] && echo "${dset}/utt2clip" || echo -)")
        region+=("$([[ ${part} != */* ]] && echo whole || echo "${part#*/}")")
        merge_later "${num_pieces}" "${dir}/logs/video.JOB.scp" "${output_dir[-1]}" "${dir}" \
            "same:${kind}_info.yaml" "${kind}_skipped.tsv" "${kind}_shape" "${kind}.content" \
            "${kind}.scp" "once:${kind}.scp,${kind}_skipped.tsv"
        [ "${kind}" != visual ] || rm -f "${dir}/visual_boxes.tsv"
        [[ ${kind}${visual_boxes} != visual?* ]] || merges+=(many:visual_boxes.tsv)
    done
    for column in ${columns}; do
        local -n values=${column}
        tables+=("--${column}" "${values[@]}")
    done
    # One error before the jobs, instead of one from each.
    [ -z "${weights}" ] || have_weights "${kind}" "${weights}" "$@" ||
        "${python}" -m "espnet2_avsep.bin.avsep_extract_${kind}" --check_weights "${_opts[@]}"
    # shellcheck disable=SC2086  # launchers are several words
    run_and_show "${kind^} features of $*" "${data_feats}/logs/${kind}.*.log" \
        ${launcher} JOB=1:"${max_pieces}" "${data_feats}/logs/${kind}.JOB.log" \
        "${python}" -m "espnet2_avsep.bin.avsep_extract_${kind}" "${_opts[@]}" "${tables[@]}"
    merge_jobs
    for part in "$@"; do
        log_counts "${part}: ${kind} features" "${data_feats}/${part}/${kind}.scp" \
            "${data_feats}/${part}/${kind}_skipped.tsv"
    done
}

# have_weights <visual|motion> <weights> <set or set/part> ...: whether all of them have
# features that were made with these weights, which are then known to be there
have_weights() {
    local kind=$1 weights=$2 part
    shift 2
    for part in "$@"; do
        [ -s "${data_feats}/${part}/${kind}.scp" ] || return
        grep -qxF "pretrained: ${weights}" "${data_feats}/${part}/${kind}_info.yaml" || return
    done
}
