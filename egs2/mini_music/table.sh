#!/usr/bin/env bash
# One table of all systems on the generated corpus, small, without network, GPU or download;
# and, with --real_corpus, the same on a real corpus in MUSIC's layout.
#
# Usage: ./table.sh [options] [options of avsep_table.sh, see below]
#
# Runs avsep_table.sh with small networks: on the generated corpus, and, with --real_corpus,
# then on a real one, with the same options, into <dumpdir>_real and <expdir>_real.

set -euo pipefail

die() {
    echo "$0: error: $*" >&2
    exit 2
}

# Options
real_corpus=        # Folder of a corpus in MUSIC's layout: videos/<category>/<id>.mp4,
                    # MUSIC_solo_videos.json, splits/. It is read where it is.
real_embeddings=    # Its embeddings, as --visual_precomputed of avsep.sh, for the systems that
                    # take embeddings (default: an encoder with random weights).
dumpdir=dump/table  # Folder for features and mixtures.
expdir=exp/table    # Folder for experiments and for the table.
run_opts=           # Options of every run.sh.

case " $* " in
    *" --help "* | *" -h "*) trap 'echo && ./avsep_table.sh --help' EXIT ;;
esac
pass_on=()
# shellcheck source=/dev/null
. utils/parse_options.sh

for option in real_corpus real_embeddings; do
    path=${!option}
    [ -z "${path}" ] || [ -e "${path}" ] || die "--${option} '${path}': no such file or folder"
    # It becomes a word of options that are split at blanks.
    [[ ${path} != *[[:space:]]* ]] || die "--${option} '${path}': expected a path without blanks"
done
[ -z "${real_embeddings}" ] || [ -n "${real_corpus}" ] ||
    die "--real_embeddings '${real_embeddings}': expected --real_corpus with it"

# table <dumpdir> <expdir> <run_opts> <option> ...: one table, which ends with this script
table() {
    local job status=0
    ./avsep_table.sh \
        --small true \
        --train_args "--dataset_conf segment_samples=16256" \
        --prepare_opts "--test_num_mixtures 32" \
        --frames_opts "--visual_size 72" \
        --motion_opts "--motion_pretrained random --motion_rate 0.25" \
        --flow_opts "--motion_encoder lucas_kanade" \
        --resnet18_weights random \
        --dumpdir "$1" --expdir "$2" --run_opts "$3" "${@:4}" "${pass_on[@]}" &
    job=$!
    trap 'kill -TERM "${job}" 2> /dev/null || true; wait; exit 143' INT TERM HUP
    wait "${job}" || status=$?
    trap - INT TERM HUP
    return "${status}"
}

status=0
table "${dumpdir}" "${expdir}" "${run_opts}" --corpus_note "Generated corpus, not MUSIC; \
encoders of pictures and the teacher have random weights, networks are a tenth of their size \
and trained for minutes. This shows which systems learn to follow the pictures; it says \
nothing about which method is better." || status=$?
if [ -n "${real_corpus}" ]; then
    embeddings="an encoder with random weights"
    if [ -n "${real_embeddings}" ]; then
        embeddings="given embeddings (${real_embeddings##*/})"
    fi
    MUSIC=$(realpath "${real_corpus}") table "${dumpdir}_real" "${expdir}_real" \
        "${run_opts} --corpus music --datadir ${dumpdir}_real/data" \
        --clip_opts "${real_embeddings:+--visual_precomputed $(realpath "${real_embeddings}")}" \
        --corpus_note "A small corpus of real recordings, not MUSIC; embeddings: ${embeddings}; \
networks for pictures and the teacher begin with random weights, networks are a tenth of their \
size and trained for minutes. This shows which systems learn to follow the pictures; it says \
nothing about which method is better." || status=$?
fi
exit "${status}"
