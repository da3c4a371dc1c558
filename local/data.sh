#!/usr/bin/env bash
# Stage 1: from a corpus to data/<set>/, checked.
#
# Usage: local/data.sh [options] [options of local/prepare_<corpus>.py]
#
# Runs local/prepare_<corpus>.py on the folder that the variable <CORPUS> of db.sh or of the
# environment names (the environment wins), then sorts and checks data/<set>/. Where the
# variable is "downloads", the corpus is fetched to downloads/<corpus> first; mini_music is
# generated. To be run in a recipe's folder. All other options are passed on: to
# local/prepare_mini_music.py for mini_music (for example --seed 1), else to
# local/prepare_<corpus>.py (for example --splits <folder>).

set -euo pipefail

log() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}:${FUNCNAME[1]}) $*"
}
die() {
    log "Error: $*" >&2
    exit 2
}
SECONDS=0

corpus=           # Name of the corpus (default: the name of the recipe's folder).
train_set=train   # Name of the training set.
valid_set=valid   # Name of the validation set.
test_sets="test"  # Names of the test sets.
real_sets=        # Name of a set for real mixtures (duets), where the corpus has some.
data_dir=data     # Where the sets go.
noted_opts=       # What the record calls the other options, --local_data_opts of avsep.sh
                  # (default: the other options themselves).
download_opts=    # Options of avsep_download, for <CORPUS>=downloads: the corpus is then fetched
                  # into downloads/<corpus>.
allow_pipes=false # Whether wav.scp may hold commands ("cmd |"), as in avsep.sh.
python=python3    # The Python that is used.

pass_on=()
# shellcheck source=/dev/null
. utils/parse_options.sh

for file in path.sh db.sh; do
    [ -e "${file}" ] || die "${file} is not here; run this in a recipe's folder, e.g. egs2/music"
done
# shellcheck source=./utils/corpus.sh
. utils/corpus.sh
# shellcheck source=./utils/write_file.sh
. utils/write_file.sh
# shellcheck source=./utils/stage_options.sh
. utils/stage_options.sh
set_corpus_dir
[[ ${corpus} =~ ^[a-z][a-z0-9_]*$ ]] || die "--corpus '${corpus}': expected small letters, digits and '_'"
[ -f "local/prepare_${corpus}.py" ] || die "--corpus '${corpus}': there is no local/prepare_${corpus}.py"

# shellcheck source=./egs2/TEMPLATE/avsep1/path.sh
. ./path.sh

if [ -z "${corpus_source}" ]; then
    die "where is the corpus ${corpus}? Fill in ${corpus_variable}=<folder> in db.sh, or set it in the" \
        "environment: ${corpus_variable}=<folder> ./run.sh ... With ${corpus_variable}=downloads it is" \
        "fetched (MUSIC, MUSIC-21, VGGSound, AVE)"
fi
folder=${corpus_source}
# What the tables are made from, for the stages that follow.
# shellcheck disable=SC2034  # by its name
datadir=${data_dir} local_data_opts=${noted_opts:-${pass_on[*]}}
declare -A made_with=([1]="corpus corpus_dir local_data_opts")

hold_lock "${data_dir}/.stage1.lock" "${data_dir} (stages 1 to 4)"
sets=(--train_set "${train_set}" --valid_set "${valid_set}" --test_sets "${test_sets}")
if [ "${corpus}" = mini_music ]; then
    if [ "${folder}" = downloads ]; then
        folder=downloads/mini_music
    fi
    hold_lock "$(dirname "${folder}")/.$(basename "${folder}").lock" "the corpus ${folder}"
    log "Generating the corpus in ${folder}"
    begin_options 1
    "${python}" local/prepare_mini_music.py --corpus_dir "${folder}" "${pass_on[@]}"
    # From here on it is a corpus like MUSIC.
    [ -z "${real_sets}" ] || die "--real_sets '${real_sets}': mini_music has no duets"
    "${python}" local/prepare_music.py --music_dir "${folder}" --splits "${folder}/splits" \
        "${sets[@]}" --data_dir "${data_dir}"
else
    if [ "${folder}" = downloads ]; then
        folder=downloads/${corpus}
        log "Fetching the corpus into ${folder}; ${folder}/manifest.tsv says what is there"
        # shellcheck disable=SC2086  # download_opts is several words
        "${python}" -m espnet2_avsep.bin.avsep_download --corpus "${corpus}" \
            --output_dir "${folder}" ${download_opts}
    fi
    [ -d "${folder}" ] || die "${corpus_variable}=${folder}: no such folder. Correct it in db.sh or in the environment"
    log "Reading the corpus in ${folder}"
    begin_options 1
    "${python}" "local/prepare_${corpus}.py" "--${corpus}_dir" "${folder}" "${pass_on[@]}" \
        "${sets[@]}" ${real_sets:+--real_sets "${real_sets}"} --data_dir "${data_dir}"
fi

folders=()
for dset in ${train_set} ${valid_set} ${test_sets} ${real_sets}; do
    folders+=("${data_dir}/${dset}")
done
utils/fix_data_dir.sh "${folders[@]}"
pipes=()
! "${allow_pipes}" || pipes=(--allow-pipes)
utils/validate_data_dir.sh --no-feats --no-text --allow-empty-media "${pipes[@]}" "${folders[@]}"
for folder in "${folders[@]}"; do
    skipped=0
    [ ! -f "${folder}/skipped.tsv" ] || skipped=$(wc -l < "${folder}/skipped.tsv")
    log "${folder}: $(wc -l < "${folder}/utt2spk") clips, ${skipped} left out (${folder}/skipped.tsv)"
done
note_options 1

log "Successfully finished. [elapsed=${SECONDS}s]"
