#!/usr/bin/env bash
# Options of a recipe's script: passed on to commands, and kept for later stages; to be
# sourced after utils/jobs.sh. The script sets made_with, which names the options that decide
# what each stage makes; given_options, the names that the command line has, a line each; and
# data_feats, the folder where they are kept.

# shellcheck disable=SC2154  # made_with, given_options, data_feats: see above

# add_opts <option>[=<variable>] ...: add to _opts, with values that are not empty
add_opts() {
    local word name
    for word in "$@"; do
        name=${word#*=}
        [ -z "${!name}" ] || _opts+=("--${word%=*}" "${!name}")
    done
}

# add_words <text>: add its words to _opts
add_words() {
    # shellcheck disable=SC2206  # several words
    _opts+=($1)
}

# put_config <option> <prefix> ...: replace the option and its YAML file, among the words of
# the command line in _words, by the options of the file, whose names begin with a prefix
put_config() {
    local n found words=()
    for ((n = 0; n < ${#_words[@]}; n += 2)); do
        if [ "${_words[n]//-/_}" = "__$1" ]; then
            found=$("${python}" -m espnet2_avsep.bin.avsep_config --words "${*:2}" \
                -- "${_words[n + 1]}")
            log "Options of ${_words[n + 1]}: ${found}"
            eval "words+=(${found})" # they are quoted
        else
            words+=("${_words[@]:n:2}")
        fi
    done
    _words=("${words[@]}")
}

# is_given <option>: whether the command line has it
is_given() {
    [[ $'\n'${given_options}$'\n' = *$'\n'"$1"$'\n'* ]]
}

# note_options <stage>: keep what the stage was run with, when it has been finished
note_options() {
    local name
    mkdir -p "${data_feats}"
    for name in ${made_with[$1]}; do
        echo "${name}=${!name}"
    done > "${data_feats}/.stage$1.options.tmp"
    mv "${data_feats}/.stage$1.options.tmp" "${data_feats}/stage$1.options"
}

# check_options <stage>: an option that is given must be what the stage was run with
check_options() {
    local name value file=${data_feats}/stage$1.options
    [ -f "${file}" ] || return 0
    while IFS='=' read -r name value; do
        if is_given "${name}" && [ "${value}" != "${!name}" ]; then
            die "--${name} '${!name}': stage $1 was run with '${value}'. Run stage $1 again" \
                "('--stage $1'), or give --${name} '${value}' (run.sh may give another one)"
        fi
    done < "${file}"
}
