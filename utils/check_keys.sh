#!/usr/bin/env bash
# Check that no key of a table is lost: each must stand in exactly one of other tables.
set -euo pipefail

help_message=$(
    cat << EOF
Usage: $0 <keys> <table> [<table> ...]
e.g.   $0 data/train/wav.scp dump/train/wav.scp dump/train/skipped.tsv

Succeeds if every key (first field) of <keys> is a key of exactly one <table>, and no
<table> has another key.
EOF
)

if [ $# -lt 2 ]; then
    echo "${help_message}" >&2
    exit 1
fi
export LC_ALL=C

keys_of() {
    sed 's/[[:space:]].*//' "$@" | sort
}

complain() {
    if [ -n "$2" ]; then
        echo "$0: error: $(wc -l <<< "$2") keys $1, the first are:" \
            "$(head -n 5 <<< "$2" | tr '\n' ' ')" >&2
        exit 1
    fi
}

expected=$(keys_of "$1")
found=$(keys_of "${@:2}")
complain "come more than once in ${*:2}" "$(uniq -d <<< "${found}")"
complain "of $1 are in none of ${*:2}" "$(comm -23 <(echo "${expected}") <(echo "${found}"))"
complain "of ${*:2} are not in $1" "$(comm -13 <(echo "${expected}") <(echo "${found}"))"
