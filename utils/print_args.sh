#!/usr/bin/env bash
# Print the arguments as one line that a shell reads back as the same arguments.
set -euo pipefail

line=
for word in "$@"; do
    if [[ ! ${word} =~ ^[A-Za-z0-9_@%+:,./=-]+$ ]]; then
        word="'${word//\'/\'\\\'\'}'"
    fi
    line+="${line:+ }${word}"
done
printf '%s\n' "${line}"
