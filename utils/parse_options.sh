#!/usr/bin/env bash
# Parse the command line of a bash script; to be sourced, as in Kaldi:
#
#   nj=4              # options are the variables set before, with their defaults
#   skip_train=false  # a default of true or false makes a boolean
#   help_message="Usage: ..."
#   . utils/parse_options.sh
#
# "--skip-train true" and "--skip_train true" set skip_train; positional arguments stay
# behind. Errors, with exit status 2: --name=value, an option whose variable is not set or
# does not begin with a small letter, a missing value, a boolean that is neither true nor
# false. --help prints ${help_message} and exits. Nothing else of the shell is changed.
#
# Without a help_message, the script itself is the help: its first comment, then its options
# with their comments. A comment may begin with what the value must be:
#
#   # Heading of the options below
#   nj=4          # [1 or more] Number of jobs.
#   device=auto   # [auto|cpu|cuda] Where it runs; more on the next line,
#                 # indented.
#   train_set=    # [required] Name of the set.
#   list=         # [file] A list of mixtures.
#   level=-60     # [number] A level in dB, such as 1.5, -6e1 or -inf.
#
# Where the default is empty, so may be the value. These are errors as above. Of whole numbers,
# zeros at the beginning are removed.
#
# With an array pass_on=(), words that are no options with such a comment are added to it, for
# another program, instead of being errors.

# Set _parse_options_variable to the variable of the option $1; fail if there is none.
_parse_options_find() {
    _parse_options_variable=${1#--}
    _parse_options_variable=${_parse_options_variable//-/_}
    [[ ${_parse_options_variable} =~ ^[a-z][a-zA-Z0-9_]*$ ]] &&
        [ -n "${!_parse_options_variable+set}" ] &&
        { [ -z "${_parse_options_passes}" ] || grep -q "^${_parse_options_variable}=.* # " "$0"; }
}

_parse_options_fail() {
    echo "$0: error: $*" >&2
    if [ -n "${help_message+set}${_parse_options_rules}" ]; then
        echo "See $0 --help" >&2
    fi
    exit 2
}

# Print the script's first comment and its options, up to where it sources this file.
_parse_options_help() {
    awk '
        # Print the last line of the option before, with its default.
        function finish() {
            if (default_of != "") {
                stop = sub(/\.$/, "", text) ? "." : ""
                default_of = "(default=\"" default_of "\")" stop
                if (length(text default_of) > 68) text = text sprintf("\n%27s # ", "")
                else text = text " "
            }
            if (name != "") print text default_of
            name = default_of = ""
        }
        NR == 1 { head = 1; next }
        head && /^#/ { sub(/^# ?/, ""); print; next }
        { head = 0 }
        /^ *\. .*parse_options\.sh/ { exit }
        /^[a-z][A-Za-z0-9_]*=("[^"]*"|[^ "$(]*) +# / {
            finish()
            if (heading != "") print "\n    " heading
            heading = ""
            match($0, /=("[^"]*"|[^ ]*) +# /)
            name = substr($0, 1, RSTART - 1)
            default_of = substr($0, RSTART + 1, RLENGTH - 1)
            sub(/ +# $/, "", default_of)
            gsub(/"/, "", default_of)
            text = substr($0, RSTART + RLENGTH)
            printf "    --%-21s # ", name
            next
        }
        name != "" && /^ +# / { sub(/^ +# /, ""); print text; printf "%27s # ", ""; text = $0; next }
        { finish() }
        { heading = /^# / && !/^# shellcheck/ ? $0 : "" }
        END { finish() }' "$0"
}

# Check the value of the option $1 with the default $2, whose comment begins with [$3].
_parse_options_check() {
    local value=${!1} words
    [ -n "${value}$2" ] || [ "$3" = required ] || return 0
    case $3 in
        required) [ -n "${value}" ] || _parse_options_fail "--$1 is required" ;;
        file) [ -f "${value}" ] || _parse_options_fail "--$1 '${value}': no such file" ;;
        number)
            [[ ${value} =~ ^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$|^-inf$ ]] ||
                _parse_options_fail "--$1 '${value}': expected a number"
            ;;
        *\ or\ more)
            if ! [[ ${value} =~ ^[0-9]{1,15}$ ]] || [ "${value}" -lt "${3%% *}" ]; then
                _parse_options_fail "--$1 '${value}': expected a whole number, $3"
            fi
            # Arithmetic would read 010 as octal, and end the script, with status 0, at 08.
            printf -v "$1" '%d' "$((10#${value}))"
            ;;
        *\|*)
            if [[ "|$3|" != *"|${value}|"* || ${value} = *\|* ]]; then
                words=${3//|/, }
                _parse_options_fail "--$1 '${value}': expected ${words%, *} or ${words##*, }"
            fi
            ;;
    esac
}

# Lines "<name>:<default>:<rule>" of the options whose comments begin with a rule.
_parse_options_rules=$(
    sed -nE 's/^([a-z][A-Za-z0-9_]*)=([^ ]*) +# \[([^]]*)\] .*/\1:\2:\3/p' "$0"
)

_parse_options_passes=
[[ $(declare -p pass_on 2> /dev/null) != "declare -a"* ]] || _parse_options_passes=true
while [ $# -gt 0 ]; do
    if [ -n "${_parse_options_passes}" ] && [[ $1 != --help && $1 != -h ]] &&
        { [[ $1 != --* ]] || ! _parse_options_find "$1"; }; then
        pass_on+=("$1")
        shift
        continue
    fi
    case "$1" in
        --help | -h)
            if [ -n "${help_message+set}" ]; then
                printf '%s\n' "${help_message}"
            elif grep -qE '^[a-z][A-Za-z0-9_]*=.* # ' "$0"; then
                _parse_options_help
            else
                echo "No help is available for $0."
            fi
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
            # A value may begin with "--", but hardly be an option of this very script.
            if [[ ${2:-} == --* ]] && _parse_options_find "$2"; then
                _parse_options_fail "$1: its value is missing; $2 is an option of its own"
            fi
            _parse_options_find "$1" || _parse_options_fail "unknown option $1"
            if [ $# -lt 2 ]; then
                _parse_options_fail "$1: its value is missing"
            fi
            if [[ ${!_parse_options_variable} =~ ^(true|false)$ && ! $2 =~ ^(true|false)$ &&
                $'\n'${_parse_options_rules} != *$'\n'"${_parse_options_variable}:"* ]]; then
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

while IFS=: read -r _parse_options_variable _parse_options_default _parse_options_rule; do
    [ -z "${_parse_options_variable}" ] || _parse_options_check \
        "${_parse_options_variable}" "${_parse_options_default}" "${_parse_options_rule}"
done <<< "${_parse_options_rules}"

unset "${!_parse_options_@}"
unset -f _parse_options_find _parse_options_fail _parse_options_help _parse_options_check
