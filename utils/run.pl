#!/usr/bin/env python3
r"""Run a command on this machine, once or in parallel, its output in log files.

Usage: %PROGRAM% [options] [JOB=1:N] <log> <command> [<argument> ...]

The command is run with bash, its output goes to <log>. With JOB=1:N it is run N
times, in parallel, with JOB replaced by 1, ..., N in the log's name and in the command.

  %PROGRAM% JOB=1:4 exp/count.JOB.log wc -l data/keys.JOB.scp

Words without white space reach the shell as they are (write \| for a pipe), others are
quoted. If a job fails, the failed jobs, the logs' path and the ends of the logs are
shown and the exit status is 1. SIGINT and SIGTERM are handed on to the jobs and to what
they started; the jobs end too if the calling script does or if this one is killed.

Options, which may stand on either side of JOB=1:N:
  --max-jobs-run N       run at most N jobs at a time (default: as many as there are
                         cores, or GPUs with --gpu)
  --gpu N                GPUs of a job; several jobs share out the machine's GPUs
  --num-threads N        threads of a job (--num_threads is the same)
  --mem, --time, --name, --num-nodes, --config
                         accepted for slurm.pl's sake; without effect here
"""

import sys

import launcher

if __name__ == "__main__":
    launcher.show_usage("run.pl", __doc__, sys.argv[1:])
    try:
        status = launcher.run_local(
            "run.pl", launcher.parse(sys.argv[1:], launcher.LOCAL_OPTIONS)
        )
    except launcher.UsageError as error:
        status = f"run.pl: error: {error}"
    sys.exit(status)
