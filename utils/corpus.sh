#!/usr/bin/env bash
# The corpus of a recipe, its folder and what it is; to be sourced. The working directory is the recipe's.

# set_corpus: set corpus, where it is empty, to the name of the recipe's folder; corpus_variable
# to the variable of the environment and of db.sh that names the folder of the corpus; and
# corpus_source to its value. The environment wins. Without a value, corpus_source is empty.
set_corpus() {
    if [ -z "${corpus}" ]; then
        corpus=$(basename "${PWD}")
        # egs2/<corpus>/avsep1 of an ESPnet checkout
        [[ ! ${corpus} =~ ^avsep[0-9]+$ ]] || corpus=$(basename "$(dirname "${PWD}")")
    fi
    corpus_variable=${corpus^^} corpus_source=
    [[ ${corpus} =~ ^[a-z][a-z0-9_]*$ ]] || return 0
    corpus_source=${!corpus_variable:-}
    # shellcheck source=./egs2/TEMPLATE/avsep1/db.sh
    [ -n "${corpus_source}" ] || [ ! -e db.sh ] ||
        corpus_source=$(. ./db.sh && echo "${!corpus_variable:-}")
}

# set_corpus_dir: set_corpus, and set corpus_dir to the path of the folder, or to nothing. Within
# the recipe's folder it is a relative path, as in the tables: recipes may be moved.
set_corpus_dir() {
    set_corpus
    corpus_dir=${corpus_source}
    [ "${corpus_dir}" != downloads ] || corpus_dir=downloads/${corpus}
    [ -z "${corpus_dir}" ] || corpus_dir=$(realpath -m --relative-base . -- "${corpus_dir}")
}

# set_corpus_note: set corpus_note, where it is empty and the corpus is a generated one, to say so.
# Also of one that is read as another: its folder has a README.txt of local/prepare_mini_music.py.
set_corpus_note() {
    [ -z "${corpus_note}" ] || return 0
    [ "${corpus}" = mini_music ] ||
        grep -qs '^A generated mini corpus' "${corpus_dir:-.}/README.txt" || return 0
    corpus_note="Generated corpus: this shows that the recipe works, not how well a method does."
}
