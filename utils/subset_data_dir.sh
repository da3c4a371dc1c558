#!/usr/bin/env bash
# Copy some of the utterances of a data folder.
# subset_data_dir.sh --help tells how; data_dir.py does the work.
exec python3 "$(dirname "$0")/data_dir.py" subset_data_dir.sh "$@"
