#!/usr/bin/env bash
# Parse the command line of a bash script; to be sourced, as in Kaldi:
#
#   nj=4              # options are the variables set before, with their defaults
#   skip_train=false  # a default of true or false makes a boolean
#   help_message="Usage: ..."
#   . utils/parse_options.sh
#
# "--skip-train true" and "--skip_train true" set skip_train; positional arguments stay
# behind. Errors, with exit status 1: --name=value, an option whose variable is not set or
# does not begin with a small letter, a missing value, a boolean that is neither true nor
# false. --help prints ${help_message} and exits. Nothing else of the shell is changed.

# Print the name of the variable that the option $1 sets; fail if there is none.
_parse_options_name() {
    local name=${1#--}
    name=${name//-/_}
    [[ ${name} =~ ^[a-z][a-zA-Z0-9_]*$ ]] && [ -n "${!name+set}" ] || return 1
    echo "${name}"
}

_parse_options_fail() {
    echo "$0: error: $*" >&2
    if [ -n "${help_message+set}" ]; then
        echo "See $0 --help" >&2
    fi
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h)
            printf '%s\n' "${help_message:-No help is available for $0.}"
            exit 0
            ;;
        --)
            shift
            break
            ;;
        --*=*)
            _parse_options_fail "$1: write the value as a word of its own: ${1%%=*} ${1#*=}"
            ;;
        --*)
            _parse_options_variable=$(_parse_options_name "$1") ||
                _parse_options_fail "unknown option $1"
            if [ $# -lt 2 ]; then
                _parse_options_fail "$1: its value is missing"
            fi
            # A value may begin with "--", but hardly be an option of this very script.
            if [[ $2 == --* ]] && _parse_options_name "$2" > /dev/null; then
                _parse_options_fail "$1: its value is missing; $2 is an option of its own"
            fi
            if [[ ${!_parse_options_variable} =~ ^(true|false)$ && ! $2 =~ ^(true|false)$ ]]; then
                _parse_options_fail "$1 '$2': expected true or false"
            fi
            printf -v "${_parse_options_variable}" '%s' "$2"
            shift 2
            ;;
        -[!0-9]*)
            _parse_options_fail "unknown option $1; options begin with two dashes"
            ;;
        *)
            break
            ;;
    esac
done

unset _parse_options_variable
unset -f _parse_options_name _parse_options_fail
