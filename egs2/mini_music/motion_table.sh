#!/usr/bin/env bash
# One table on a generated corpus in which only motion tells the sources apart, by its times
# or by its kind: systems, each with the motion as it is, frozen, and swapped between the
# sources. Small networks, without network, GPU or download.
#
# Usage: ./motion_table.sh [options]
#
# Generates the corpus and prepares it (stages 1-5); trains, separates and scores each system;
# separates and scores those that use motion once more with the motion frozen, and once with the
# motion of the other source; writes <expdir>/compare/compare_test.md. Run again after an
# interruption: what is finished is kept, and an interrupted training continues.

set -euo pipefail

SECONDS=0

# Options
systems="sound_of_motions iquery dgfnet hfra" # Of: sound_of_motions iquery dgfnet hfra, whose
                              # configurations are conf/tuning/train_avsep_mini_*.
kind=rhythm                   # What tells sources apart: rhythm (a bow moves while a note
                              # sounds) or speed (one bow is slow, one goes back and forth).
seeds=0                       # Seeds of each training.
train_seconds=                # CPU time of each training in seconds (default: that of each
                              # configuration).
corpus=                       # Folder of the generated videos (default:
                              # downloads/mini_motion; with --kind speed: .._speed, as the
                              # folders below).
datadir=                      # Folder of the data directories (default: data_motion).
dumpdir=                      # Folder for features and mixtures (default: dump/motion_only).
expdir=                       # Folder for experiments and the table (default:
                              # exp/motion_only).
run_opts=                     # Options of every run.sh.
dry_run=false                 # Whether to print the commands and do nothing.
python=python3                # The Python that runs everything.

# shellcheck source=/dev/null
. utils/parse_options.sh
# shellcheck source=./utils/jobs.sh
. utils/jobs.sh
[ $# -eq 0 ] || die "'$1' is not an option. See $0 --help"
# shellcheck source=./utils/write_file.sh
. utils/write_file.sh
# shellcheck source=./utils/done_marker.sh
. utils/done_marker.sh
# shellcheck source=./egs2/TEMPLATE/avsep1/path.sh
. ./path.sh

[ -n "${systems}" ] && [ -n "${seeds}" ] || die "--systems and --seeds: expected one or more"
for system in ${systems}; do
    [[ ${system} =~ ^(sound_of_motions|iquery|dgfnet|hfra)$ ]] ||
        die "--systems: '${system}' is not among sound_of_motions iquery dgfnet hfra"
done
for seed in ${seeds}; do
    [[ ${seed} =~ ^[0-9]{1,9}$ ]] || die "--seeds: '${seed}': expected a whole number, 0 or more"
done
# Each once.
# shellcheck disable=SC2086  # several words
systems=$(printf '%s\n' ${systems} | awk '!seen[$0]++')
seeds=$(printf '%s\n' ${seeds} | awk '!seen[$0 + 0]++')
[[ ${train_seconds:-1} =~ ^[1-9][0-9]{0,8}$ ]] ||
    die "--train_seconds '${train_seconds}': expected a whole number, 1 or more"

case ${kind} in
    rhythm)
        suffix=
        kind_opts=(--local_data_opts "--same_instrument true" --mix_different_class false)
        kind_args=
        flow_args=
        note="players of one drawing whose instruments have one timbre; only the motion of the \
bow tells which sound is whose"
        ;;
    speed)
        suffix=_speed
        # 8 rows of flow per second, the default, do not hold a tremolo of 4 Hz.
        kind_opts=(--local_data_opts "--bow_speed true --train_takes 64 --duration 4"
            --motion_rate 16)
        kind_args=" --dataset_conf different_class=true"
        flow_args=" --separator_conf window=48 --separator_conf steps_per_column=16"
        note="players of one drawing with two timbres; only the speed of the bow tells which \
sound is whose"
        ;;
    *) die "--kind '${kind}': expected rhythm or speed" ;;
esac
corpus=${corpus:-downloads/mini_motion${suffix}}
datadir=${datadir:-data_motion${suffix}}
dumpdir=${dumpdir:-dump/motion_only${suffix}}
expdir=${expdir:-exp/motion_only${suffix}}

# doing <command> ...: run it, so that it ends with this script, or print it
doing() {
    if "${dry_run}"; then
        printf '%q ' "$@" | sed 's/ $/\n/'
    else
        run_group "$@"
    fi
}

# shellcheck disable=SC2206  # options are several words
opts=("${kind_opts[@]}" --visual_encoder frames --visual_size 72 --mix_visual_frames 1
    --motion_encoder lucas_kanade --motion_align segment --segment_samples 32512
    --train_segment_samples 32512
    --test_num_mixtures 32 --valid_num_mixtures 16 --eval_valid_set false
    --leak_check false --health_report false --train_threads 1
    --datadir "${datadir}" --dumpdir "${dumpdir}" --expdir "${expdir}" ${run_opts})
export MINI_MUSIC=${corpus}

changed="was made with other options or another configuration"
data_made_with="corpus ${corpus}: ${opts[*]}"
if ! is_done "${expdir}/data_done" "${data_made_with}" "${expdir}/data_done: ${changed}"; then
    doing ./run.sh --stage 1 --stop_stage 5 "${opts[@]}"
    "${dry_run}" || write_file "${expdir}/data_done" "${data_made_with}"
fi

versions= # of what the stages compute
"${dry_run}" || versions=$("${python}" -m espnet2_avsep.bin.avsep_made_from versions)
experiments=()
for seed in ${seeds}; do
    for system in ${systems}; do
        tag=${system}_seed${seed}
        exp=${expdir}/avsep_${tag}
        experiments+=(--experiment "${exp}")
        own_args=${kind_args}
        if [ "${system}" = sound_of_motions ]; then
            own_args+=${flow_args}
        fi
        config=conf/tuning/train_avsep_mini_${system}.yaml
        own=("${opts[@]}" --report false --inference_nj 1
            --avsep_tag "${tag}" --avsep_config "${config}"
            --avsep_args "--seed ${seed}${own_args}${train_seconds:+ \
--max_train_seconds ${train_seconds}}")
        conditions=(frozen swapped)
        if [ "${system}" = hfra ]; then
            conditions=()
        fi
        for condition in "${conditions[@]}"; do
            experiments+=(--experiment "${exp}/${condition}")
        done
        made_with="corpus ${corpus}, versions ${versions}: ${own[*]}"
        "${dry_run}" || {
            "${python}" -m espnet2_avsep.bin.avsep_config --output "${expdir}/${tag}.config" "${config}"
            made_with+=$'\n'$(< "${expdir}/${tag}.config")
        }
        if is_done "${exp}/table_done" "${made_with}" "${exp}/table_done: ${changed}"; then
            log "${tag}: is there already"
            continue
        fi
        doing ./run.sh --stage 6 --stop_stage 8 "${own[@]}"
        for condition in "${conditions[@]}"; do
            doing ./run.sh --stage 7 --stop_stage 8 "${own[@]}" \
                --inference_tag "${condition}" --inference_args "--change_motion ${condition}"
        done
        "${dry_run}" || write_file "${exp}/table_done" "${made_with}"
    done
done

doing "${python}" -m espnet2_avsep.bin.avsep_compare --output_dir "${expdir}/compare" \
    --set test --corpus_note "Generated corpus, not MUSIC: ${note}. In brackets \
behind a system's name: what was done to the motion in the test." "${experiments[@]}"
"${dry_run}" || log "This table: ${expdir}/compare/compare_test.md [elapsed=${SECONDS}s]"
