#!/usr/bin/env bash
# Put data folders together.
# combine_data.sh --help tells how; data_dir.py does the work.
exec python3 "$(dirname "$0")/data_dir.py" combine_data.sh "$@"
