#!/usr/bin/env python3
"""Run a command on this machine, its output in log files and on stdout.

Usage: %PROGRAM% [options] [JOB=1:N] <log> <command> [<argument> ...]

Like run.pl, but the output goes to stdout as well as to <log>; jobs run one after the
other unless --max-jobs-run says otherwise. See run.pl --help.
"""

import sys

import launcher

if __name__ == "__main__":
    launcher.show_usage("stdout.pl", __doc__, sys.argv[1:])
    try:
        request = launcher.parse(sys.argv[1:], launcher.LOCAL_OPTIONS)
        request.options.setdefault("max_jobs_run", "1")
        status = launcher.run_local("stdout.pl", request, tee=True)
    except launcher.UsageError as error:
        status = f"stdout.pl: error: {error}"
    sys.exit(status)
