#!/usr/bin/env bash
# Copy a data folder, optionally with prefixes or suffixes on its keys.
# copy_data_dir.sh --help tells how; data_dir.py does the work.
exec python3 "$(dirname "$0")/data_dir.py" copy_data_dir.sh "$@"
