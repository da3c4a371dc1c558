#!/usr/bin/env bash
# Options of a recipe's script: passed on to commands, and kept for later stages; to be
# sourced after utils/jobs.sh and utils/write_file.sh. The script sets made_with, which names
# the options that decide what each stage makes; read_later, those of them that stages of this
# run read that come after it; given_options, the names that the command line has, a line each;
# and datadir and data_feats, the folders where those of stage 1 and of stages 2 to 4 are kept.

# shellcheck disable=SC2154  # made_with, read_later, ...: see above

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

# set_options_file <stage>: set options_file, where the options of the stage are kept
set_options_file() {
    options_file=${datadir}/stage1.options
    [ "$1" -eq 1 ] || options_file=${data_feats}/stage$1.options
}

# begin_options <stage>: note that the stage is at work, or was stopped
begin_options() {
    local options_file
    set_options_file "$1"
    mkdir -p "$(dirname "${options_file}")"
    write_file "${options_file}" unfinished
}

# note_options <stage>: keep what the stage was run with, when it has been finished
note_options() {
    local name options_file found=
    set_options_file "$1"
    mkdir -p "$(dirname "${options_file}")"
    for name in ${made_with[$1]}; do
        found+=${found:+$'\n'}${name}=${!name//$'\n'/ }
    done
    write_file "${options_file}" "${found}"
}

# check_options <stage>: an option that is given must be what the stage was run with; one of
# read_later must be it although it is not given
check_options() {
    local line name value options_file
    set_options_file "$1"
    [ -f "${options_file}" ] || return 0
    [ "$(< "${options_file}")" != unfinished ] ||
        die "stage $1 was begun and has not been finished. Run it again ('--stage $1')"
    while IFS= read -r line; do
        [[ ${line} =~ ^[a-z][a-z0-9_]*= ]] || continue # more lines of a value
        name=${line%%=*} value=${line#*=}
        [ "${value}" != "${!name//$'\n'/ }" ] || continue
        # Its variable of the environment or of db.sh is not on the command line.
        [ "${name}" != corpus_dir ] || [ -z "${corpus_dir}" ] ||
            die "${corpus_variable}=${corpus_source} (environment or db.sh): stage 1 was run with" \
                "'${value}'. Run stage 1 again ('--stage 1'), or set ${corpus_variable} to that folder"
        ! is_given "${name}" ||
            die "--${name} '${!name}': stage $1 was run with '${value}'. Run stage $1 again" \
                "('--stage $1'), or give --${name} '${value}' (run.sh may give another one)"
        [[ " ${read_later} " != *" ${name} "* ]] ||
            die "--${name} '${!name}', the default: stage $1 was run with '${value}'. Give" \
                "--${name} '${value}' to the stages after it too, or run stage $1 again"
    done < "${options_file}"
}
