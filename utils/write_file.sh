#!/usr/bin/env bash
# Whole files or none, and one writer at a time; to be sourced. The script has die.

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

# hold_lock <file> <what it is of> [--shared]: hold a lock until this script and all that it has
# started have ended, killed or not, or until release_lock; an error if another run holds it. Runs
# that only read share it. Without util-linux's flock: no lock.
hold_lock() {
    local fd status=0
    command -v flock > /dev/null || return 0
    mkdir -p "$(dirname "$1")"
    # What cannot be written there is said by what writes.
    if [ -e "$1" ]; then [ -w "$1" ]; else [ -w "$(dirname "$1")" ]; fi || return 0
    exec {fd}<> "$1"
    flock "${3:---exclusive}" --nonblock --conflict-exit-code 75 "${fd}" || status=$?
    # Other errors are of file systems without locks.
    [ "${status}" -ne 75 ] ||
        die "another run is using $2. Wait for its end, or stop it (the lock is $1)"
    held_lock=${fd}
}

# release_lock: let go of the lock that was taken last
release_lock() {
    [ -z "${held_lock:-}" ] || exec {held_lock}>&-
    held_lock=
}
