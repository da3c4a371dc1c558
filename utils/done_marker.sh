#!/usr/bin/env bash
# Markers of finished experiments of a table, which hold what these were made with; to be sourced.

# shellcheck disable=SC2154  # dry_run: an option of the script; so is its function log

# is_done <marker> <made with> <message>: whether the marker is there and holds the same. Else it
# is removed, and the message logged. Markers of earlier versions are empty: they count.
# A dry run compares nothing and removes nothing.
is_done() {
    [ -e "$1" ] || return 1
    "${dry_run}" || [ ! -s "$1" ] || [ "$(< "$1")" = "$2" ] || {
        log "$3"
        rm -f "$1"
        return 1
    }
}
