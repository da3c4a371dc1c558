#!/usr/bin/env bash
# Whole files or none; to be sourced.

# write_file <path> <text> [<mode>]: write a file under a temporary name and rename it. The
# temporary name is its own: another run may be writing the same file. The mode, =rw unless it
# is given, is limited by the umask.
write_file() {
    local unfinished
    unfinished=$(mktemp "$1.XXXXXX") || return
    if ! { printf '%s\n' "$2" > "${unfinished}" && chmod "${3:-=rw}" "${unfinished}" &&
        mv -f "${unfinished}" "$1"; }; then
        rm -f "${unfinished}"
        return 1
    fi
}
