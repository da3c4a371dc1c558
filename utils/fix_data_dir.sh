#!/usr/bin/env bash
# Sort the tables of a data folder and keep the utterances that are in all of them.
# fix_data_dir.sh --help tells how; data_dir.py does the work.
exec python3 "$(dirname "$0")/data_dir.py" fix_data_dir.sh "$@"
