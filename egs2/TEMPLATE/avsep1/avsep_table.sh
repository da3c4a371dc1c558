#!/usr/bin/env bash
# One table of all systems, from one preparation of the data.
#
# Usage: ./avsep_table.sh [options]
#
# Prepares the data (stages 1-4) for each kind of visual input, all with the same mixtures;
# trains, separates and scores every system, one seed of all after the other; separates with
# each once more, with pictures of classes that are not in the mixture; writes
# <expdir>/compare/compare_<set>.{md,csv}. Run again after an interruption: what is finished
# is kept, and an interrupted training continues. A system that fails is reported, the rest
# goes on, and the exit status is 1.

set -euo pipefail

SECONDS=0

# Options
systems=               # Only these: the names of any of conf/tuning/train_avsep_<name>.yaml and
                       # untrained_<name>.yaml (default: all of them but variants: mini*, *_small,
                       # *_released, *_pictures, *_label_free, *_new_class, *_no_motion, *_ave).
seeds="0 1 2"          # Seeds of HFRA and its ablations, hfra*.
other_seeds=           # Seeds of the other trained systems (default: those of --seeds).
nj=2                   # [1 or more] Experiments that run at a time, one thread each.
small=false            # Whether configs are made small by local/make_small_config.py, for a CPU
                       # and no downloads.
max_epoch=             # [1 or more] With --small true: epochs of each training (default: that
                       # script's).
num_iters_per_epoch=   # [1 or more] With --small true: steps of an epoch (default: that script's).
train_seconds=         # [1 or more] With --small true: CPU time of each training in seconds,
                       # instead of a number of steps, so that fast and slow systems get the same.
train_args=            # Options of every training, e.g. "--num_workers 2".
train_ref_nums=        # Numbers of sources in training, e.g. "2 3 4", as in avsep.sh.
test_ref_nums=         # Numbers of sources of the test mixtures, e.g. "2 3 4", as in avsep.sh: a
                       # table for each, and one by number of sources. RPCA has two only.
dumpdir=dump/table     # Folder for features and mixtures.
expdir=exp/table       # Folder for experiments and for the table.
run_opts=              # Options of every run.sh, e.g. "--ngpu 1".
prepare_opts=          # Options of run.sh for stages 1-4, e.g. "--test_num_mixtures 32".
clip_opts=             # The same, of the embeddings only, e.g. "--visual_precomputed x.h5".
frames_opts=           # The same, of the packed pictures only, e.g. "--visual_size 72".
motion_opts=           # The same, of the motion features, e.g. "--motion_pretrained random".
flow_opts=             # The same, of optical flow, e.g. "--motion_encoder lucas_kanade", for
                       # which no weights are needed.
resnet18_weights=IMAGENET1K_V1 # Weights of the frozen ResNet-18.
corpus_note=           # A sentence for the top of the table and of each RESULTS.md (default: of a
                       # generated corpus, that it is one).
dry_run=false          # Whether to print the commands and do nothing.
python=python3         # The Python that runs everything.

# shellcheck source=/dev/null
. utils/parse_options.sh
# shellcheck source=./utils/jobs.sh
. utils/jobs.sh
# shellcheck source=./utils/write_file.sh
. utils/write_file.sh
# shellcheck source=./utils/done_marker.sh
. utils/done_marker.sh
# shellcheck source=./utils/corpus.sh
. utils/corpus.sh
[ $# -eq 0 ] || die "'$1' is not an option. See $0 --help"
# shellcheck source=./egs2/TEMPLATE/avsep1/path.sh
. ./path.sh

one_line seeds other_seeds test_ref_nums run_opts prepare_opts

# The corpus of run.sh, the name of the recipe's folder unless an option says another one; and
# the number of sources.
read -r -a _words <<< "${run_opts} ${prepare_opts}"
corpus='' ref_num=2
for ((n = 0; n < ${#_words[@]}; n++)); do
    [ "${_words[n]}" != --corpus ] || corpus=${_words[n + 1]:-}
    [ "${_words[n]//-/_}" != __ref_num ] || ref_num=${_words[n + 1]:-}
done
set_corpus_dir
set_corpus_note
# Where nothing names its folder, it is the one of the runs before.
[ -n "${corpus_dir}" ] || [ ! -e "${expdir}/settings" ] ||
    corpus_dir=$(sed -n "s/^corpus: ${corpus}, //p" "${expdir}/settings")

other_seeds=${other_seeds:-${seeds}}
for _option in seeds other_seeds; do
    [[ " ${!_option} " =~ ^(\ +[0-9]{1,9})*\ +$ ]] ||
        die "--${_option} '${!_option}': expected whole numbers, 0 or more"
done
# Of what the configurations need (visual input, number of sources), avsep_config tells below.
names=$(find -L conf/tuning -name '*.yaml' | sed -nE 's|.*/(train_avsep\|untrained)_(.*)\.yaml$|\1 \2|p' |
    sort | cut -d ' ' -f 2 |
    grep -vE '^mini|_(small|released|pictures|label_free|new_class|no_motion|ave)$')
names="$(grep '^hfra' <<< "${names}") $(grep -v '^hfra' <<< "${names}")"
configs=()
# shellcheck disable=SC2086  # names are several words
for _name in $(printf '%s\n' ${systems:-${names}} | awk '!seen[$0]++'); do
    _config=conf/tuning/train_avsep_${_name}.yaml
    [ -f "${_config}" ] || _config=conf/tuning/untrained_${_name}.yaml
    [ -f "${_config}" ] || die "--systems: there is no conf/tuning/train_avsep_${_name}.yaml," \
        "and no untrained_${_name}.yaml; the systems without --systems are: $(xargs <<< "${names}")"
    configs+=("${_config}")
done
# Lines "<configuration> <trained> <visual input> <number of sources>".
plan=$("${python}" -m espnet2_avsep.bin.avsep_config "${configs[@]}")
if ! "${small}" && [ -n "${max_epoch}${num_iters_per_epoch}${train_seconds}" ]; then
    die "--max_epoch, --num_iters_per_epoch and --train_seconds go with --small true; else" \
        "--train_args has them"
fi
small_opts=(${max_epoch:+--max_epoch "${max_epoch}"}
    ${num_iters_per_epoch:+--num_iters_per_epoch "${num_iters_per_epoch}"}
    ${train_seconds:+--train_seconds "${train_seconds}"})
# Only the embeddings' folder is looked through for leaks and on its health.
quick="--leak_check false --health_report false"

# sources_of <system>: the number of sources that its mixtures must have; nothing: any
sources_of() {
    awk -v "name=/(train_avsep|untrained)_$1[.]yaml\$" '$1 ~ name && $4 != "any" { print $4 }' <<< "${plan}"
}

# set_ref_opts <system>: set ref_opts, the options of run.sh on numbers of sources
set_ref_opts() {
    local nums=${test_ref_nums} train=${train_ref_nums} fixed
    fixed=$(sources_of "$1")
    if [ ! -f "conf/tuning/train_avsep_$1.yaml" ]; then
        nums=${nums:+${fixed:-${nums}}}
    else
        train=${fixed:-${train}}
    fi
    ref_opts=(${train:+--train_ref_nums "${train}"} ${nums:+--test_ref_nums "${nums}"})
}

# doing <command> ...: run it, or print it
doing() {
    if "${dry_run}"; then
        printf '%q ' "$@" | sed 's/ $/\n/'
    else
        "$@"
    fi
}

# logged <log> <command> ...: run it with its output in a log, or print it
logged() {
    if "${dry_run}"; then
        shift
        doing "$@"
    else
        run_group "${@:2}" > "$1" 2>&1
    fi
}

# config_of <system>: its configuration, which is made small if wanted
config_of() {
    local full=conf/tuning/train_avsep_$1.yaml
    if [ ! -f "${full}" ]; then
        echo "conf/tuning/untrained_$1.yaml"
    elif "${small}"; then
        echo "${expdir}/conf/train_avsep_$1.yaml"
    else
        echo "${full}"
    fi
}

# input_opts <visual input>: the options of run.sh that say so
input_opts() {
    case $1 in
        clip) echo "--dumpdir ${dumpdir}/$1 --expdir ${expdir}/$1" ;;
        motion | flow) echo "--dumpdir ${dumpdir}/$1 --expdir ${expdir}/$1 ${quick} --use_motion true" ;;
        *) echo "--dumpdir ${dumpdir}/$1 --expdir ${expdir}/$1 ${quick}" ;;
    esac
}

# set_data_opts <visual input>: set data_opts, the options of run.sh that make its data: a
# picture a second, whatever the recipe has
set_data_opts() {
    case $1 in
        clip)
            # shellcheck disable=SC2206  # options are several words
            data_opts=(--visual_every 8 ${clip_opts})
            ;;
        resnet18)
            data_opts=(--visual_every 8 --visual_encoder resnet18
                --visual_pretrained "${resnet18_weights}")
            ;;
        frames)
            # shellcheck disable=SC2206  # options are several words
            data_opts=(--visual_encoder frames --visual_every 1 --mix_visual_frames 3
                --mix_visual_stride 24 ${frames_opts})
            ;;
        motion)
            # shellcheck disable=SC2206  # options are several words
            data_opts=(--visual_encoder frames --visual_every 8 --mix_visual_frames 3
                --mix_visual_stride 1
                ${frames_opts} --motion_encoder s3d ${motion_opts})
            ;;
        flow)
            # shellcheck disable=SC2206  # options are several words
            data_opts=(--visual_encoder frames ${frames_opts} --motion_encoder raft_small
                --motion_align segment ${flow_opts})
            ;;
    esac
}

# experiment <system> <visual input> <seed or "none">: train, separate, score
experiment() {
    local system=$1 input=$2 seed=$3 tag=$1 opts
    opts="$(input_opts "${input}") --skip_data_prep true --eval_valid_set false --inference_nj 1"
    opts+=" --train_threads 1 --progress_interval 0 --report false ${run_opts} --avsep_config $(config_of "${system}")"
    if [ "${seed}" != none ]; then
        tag+=_seed${seed}
    fi
    local exp=${expdir}/${input}/avsep_${tag} first=7 args=() made_with=
    local config=${expdir}/logs/${tag}.config
    "${dry_run}" || {
        "${python}" -m espnet2_avsep.bin.avsep_config --output "${config}" "$(config_of "${system}")" ||
            return 1
        made_with="versions ${versions}"$'\n'$(< "${config}")
    }
    # A training with another configuration is refused then.
    if is_done "${exp}/table_done" "${made_with}" \
        "${tag}: $(config_of "${system}") or the code of a stage has changed since"; then
        log "${tag}: is there already"
        return 0
    fi
    if [ "${seed}" != none ]; then
        first=6
        args=(--avsep_args "--seed ${seed}${train_args:+ ${train_args}}")
    fi
    local begin=${SECONDS} ref_opts data_opts
    set_ref_opts "${system}"
    set_data_opts "${input}"
    # shellcheck disable=SC2206  # options are several words
    opts=(${opts} --avsep_tag "${tag}" "${args[@]}" ${prepare_opts} "${ref_opts[@]}" "${data_opts[@]}"
        ${corpus_note:+--corpus_note "${corpus_note}"})
    [ "${seed}" = none ] || opts+=(--shuffled_tag shuffled)
    logged "${expdir}/logs/${tag}.log" ./run.sh --stage "${first}" --stop_stage 8 "${opts[@]}" ||
        return 1
    if ! "${dry_run}"; then
        write_file "${exp}/table_done" "${made_with}" || return 1
        rm -f "${config}"
        log "${tag}: finished in $((SECONDS - begin)) s"
    fi
}

# ------------------------------------------------------------------- what is to be done

# Lines "<system> <visual input> <seed>": all systems that have the first seed, then all that
# have the second, ..., then the systems without training.
wanted=
inputs=
# shellcheck disable=SC2086  # seeds are several words
for seed in $(printf '%s\n' ${seeds} ${other_seeds} | awk '!seen[$0]++') none; do
    while read -r config trained input number; do
        system=$(sed -E 's/^(train_avsep|untrained)_//' <<< "$(basename "${config}" .yaml)")
        if ! "${trained}"; then
            _seeds=none
            [ "${number}" = any ] || [[ " ${test_ref_nums:-${ref_num}} " == *" ${number} "* ]] || continue
        elif [[ ${system} = hfra* ]]; then
            _seeds=${seeds}
        else
            _seeds=${other_seeds}
        fi
        [[ " ${_seeds} " == *" ${seed} "* ]] || continue
        [[ " ${inputs} " == *" ${input} "* ]] || inputs+="${inputs:+ }${input}"
        wanted+="${system} ${input} ${seed}"$'\n'
    done <<< "${plan}"
done
[ -n "${wanted}" ] || die "nothing to do: no system, or no seed"

# Trainings of other lengths, or on other data, do not belong into one folder.
settings=$(
    echo "small: ${small} ${small_opts[*]}, train_args: ${train_args}, run_opts: ${run_opts}"
    echo "train_ref_nums: ${train_ref_nums}, test_ref_nums: ${test_ref_nums}"
    echo "prepare_opts: ${prepare_opts}, frames_opts: ${frames_opts}, resnet18: ${resnet18_weights}"
    echo "motion_opts: ${motion_opts}, clip_opts: ${clip_opts}${flow_opts:+, flow_opts: ${flow_opts}}"
    echo "corpus: ${corpus}, ${corpus_dir}"
)
# Settings of earlier versions do not name the corpus. Those that made no data do not count.
made=$(cat "${expdir}/settings" 2> /dev/null || true)
[ -n "$(find "${expdir}" -maxdepth 2 -name data_done -print -quit 2> /dev/null)" ] || made=
if [ -n "${made}" ] && [ "${made}" != "${settings}" ] && [ "${made}" != "${settings%$'\n'*}" ]; then
    diff "${expdir}/settings" - <<< "${settings}" >&2 || true
    die "${expdir} was made with other settings (above: then <, now >); give --expdir and --dumpdir"
fi
# What avsep.sh refuses is refused before anything is made, and by a dry run too.
set_ref_opts all
for input in ${inputs}; do
    set_data_opts "${input}"
    # shellcheck disable=SC2046,SC2086  # options are several words
    ./run.sh --check_only true --stop_stage 5 --nj "${nj}" $(input_opts "${input}") \
        ${run_opts} ${prepare_opts} "${ref_opts[@]}" "${data_opts[@]}" > /dev/null ||
        die "run.sh refuses these options for the visual input '${input}' (the error is above)"
done
if ! "${dry_run}"; then
    mkdir -p "${expdir}/logs" "${expdir}/conf"
    write_file "${expdir}/settings" "${settings}"
    rm -f "${expdir}"/logs/*.failed
fi

# ------------------------------------------------------------------- data

# The videos (stage 1) are shared; the embeddings' folder comes first, for it is the quickest
# to tell that something is wrong with them.
first=1
set_ref_opts all
for input in ${inputs}; do
    set_data_opts "${input}"
    # shellcheck disable=SC2206,SC2207  # options are several words
    opts=($(input_opts "${input}") ${run_opts} ${prepare_opts} "${ref_opts[@]}" "${data_opts[@]}")
    marker=${expdir}/${input}/data_done made_with="corpus ${corpus_dir}: ${opts[*]}"
    if is_done "${marker}" "${made_with}" "Data, ${input}: were made with other options"; then
        log "Data, ${input}: are there already"
    else
        # What was made from earlier data is not finished.
        "${dry_run}" || rm -f "${expdir}/${input}"/avsep_*/table_done
        "${dry_run}" || log "Data, ${input}: stages ${first}-5, log: ${expdir}/logs/data_${input}.log"
        logged "${expdir}/logs/data_${input}.log" ./run.sh --stage "${first}" --stop_stage 5 --nj "${nj}" \
            "${opts[@]}" ||
            die "the data could not be prepared, see ${expdir}/logs/data_${input}.log"
        "${dry_run}" || write_file "${marker}" "${made_with}"
    fi
    first=2
done

# The same mixtures everywhere: lists may differ in the rows of the pictures, and in no more.
if ! "${dry_run}"; then
    for list in "${dumpdir}/${inputs%% *}"/raw/*/mixtures.tsv; do
        dset=$(basename "$(dirname "${list}")")
        lists=()
        for input in ${inputs}; do
            lists+=("${dumpdir}/${input}/raw/${dset}/mixtures.tsv")
        done
        "${python}" -c '
import sys
from espnet2_avsep.data.mixing.mixture_table import sound_sha256
found = {path: sound_sha256(path) for path in sys.argv[1:]}
for path, digest in found.items():
    print(f"{digest}  {path} (sounds)")
sys.exit(len(set(found.values())) != 1)' "${lists[@]}" ||
            die "the mixtures of ${dset} differ (SHA-256 above). A clip may have been left out of one" \
                "one kind of visual input only: see skipped.tsv beside the lists"
    done
fi

# ------------------------------------------------------------------- systems

# Of what the stages compute: scores of another version are not in the table.
versions=
"${dry_run}" || versions=$("${python}" -m espnet2_avsep.bin.avsep_made_from versions)
# shellcheck disable=SC2013  # names hold no blanks
for system in $(awk 'NF { print $1 }' <<< "${wanted}" | sort -u); do
    if "${small}" && [ -f "conf/tuning/train_avsep_${system}.yaml" ]; then
        doing "${python}" local/make_small_config.py --config "conf/tuning/train_avsep_${system}.yaml" \
            --output "$(config_of "${system}")" "${small_opts[@]}"
    fi
done

trap 'kill $(jobs -p) 2> /dev/null || true; wait; stopped' INT TERM HUP
while read -r system input seed; do
    [ -n "${system}" ] || continue
    if "${dry_run}"; then
        experiment "${system}" "${input}" "${seed}"
        continue
    fi
    while [ "$(jobs -rp | wc -l)" -ge "${nj}" ]; do
        wait -n || true
    done
    {
        # shellcheck disable=SC2329  # by run_group; the script itself says how to go on
        stopped() { exit 143; }
        trap stopped INT TERM HUP
        if ! experiment "${system}" "${input}" "${seed}"; then
            log "${system}, seed ${seed}: FAILED, log: ${expdir}/logs/${system}*.log" >&2
            touch "${expdir}/logs/${system}_seed${seed}.failed"
        fi
    } &
done <<< "${wanted}"
wait
trap stopped INT TERM HUP

# ------------------------------------------------------------------- the table

missing=
opts=()
scored=()
while read -r system input seed; do
    [ -n "${system}" ] || continue
    exp=${expdir}/${input}/avsep_${system}
    if [ "${seed}" != none ]; then
        exp+=_seed${seed}
    fi
    if ! "${dry_run}" && [ ! -e "${exp}/table_done" ]; then
        missing+="${missing:+, }${system} (seed ${seed})"
        continue
    fi
    opts+=(--experiment "${exp}")
    scored+=("${exp}")
    if [ "${seed}" != none ]; then
        opts+=(--experiment "${exp}/shuffled")
    fi
done <<< "${wanted}"
[ ${#opts[@]} -gt 0 ] || die "every system failed, see ${expdir}/logs"
if [ -n "${missing}" ]; then
    corpus_note+="${corpus_note:+ }Failed, and not in the table: ${missing}."
fi
sets=(test)
if [ -n "${test_ref_nums}" ]; then
    sets=()
    for n in ${test_ref_nums}; do
        sets+=("test_${n}src")
    done
fi
# A recipe may have other test sets.
"${dry_run}" || mapfile -t sets < <(find "${scored[@]}" -mindepth 1 -maxdepth 1 -name 'scored_*' |
    sed 's|.*/scored_||' | grep -v '_same_class$' | sort -u)
doing "${python}" -m espnet2_avsep.bin.avsep_compare --output_dir "${expdir}/compare" \
    --set "${sets[@]}" --corpus_note "${corpus_note}" "${opts[@]}"
if "${dry_run}"; then
    exit 0
fi
log "This table: ${expdir}/compare/compare_${sets[0]}.md [elapsed=${SECONDS}s]"
if [ -n "${missing}" ]; then
    log "Error: failed: ${missing}" >&2
    exit 1
fi
