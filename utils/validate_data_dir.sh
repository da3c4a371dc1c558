#!/usr/bin/env bash
# Check a data folder; every message says how to fix the problem.
# validate_data_dir.sh --help tells how; data_dir.py does the work.
exec python3 "$(dirname "$0")/data_dir.py" validate_data_dir.sh "$@"
