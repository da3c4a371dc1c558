#!/usr/bin/env python3
"""Run a command on a Slurm cluster, once or in parallel, its output in log files.

Usage: %PROGRAM% [options] [JOB=1:N] <log> <command> [<argument> ...]

Like run.pl, through sbatch; returns when all jobs have ended. JOB=1:N becomes a job
array. The jobs' scripts and Slurm's own messages go to the folder q beside the logs. An
interrupted or terminated slurm.pl cancels its jobs.

Options are those that the configuration file describes, and
  --config FILE          the configuration (default: conf/slurm.conf; where that is
                         missing, plain "sbatch --export=ALL")
  --max-jobs-run N       run at most N jobs of the array at a time

Lines of the configuration, as in Kaldi ("#" starts a comment):
  command sbatch --export=ALL        the command that submits
  option gpu=0                       what --gpu 0 adds to it: nothing
  option gpu=* --gres=gpu:$0         what any other --gpu adds; $0 is its value
  default gpu=0                      as if --gpu 0 were given
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import launcher

DEFAULT_CONFIG = """\
command sbatch --export=ALL
option name=* --job-name $0
option time=* --time $0
option mem=* --mem $0
option num_threads=* --cpus-per-task $0
option num_nodes=* --nodes $0 --ntasks-per-node 1
option gpu=0
option gpu=* --gres=gpu:$0
default gpu=0
"""
# Seconds until a job's last words must be visible on this machine's file system.
PATIENCE = 5.0


class Config(NamedTuple):
    """A parsed configuration.

    Attributes:
        command: The submitting command.
        exact: Words added for an option's value, by (option, value).
        general: Words added for any other value of an option.
        default: Values of options that are not given.
    """

    command: str
    exact: Dict[tuple, str]
    general: Dict[str, str]
    default: Dict[str, str]


def read_config(path: Optional[str]) -> Config:
    """Read a configuration; None stands for conf/slurm.conf or, failing that, ours.

    Raises:
        launcher.UsageError: it cannot be read, or a line is none of Kaldi's.
    """
    if path is None and not Path("conf/slurm.conf").is_file():
        path, text = "the default configuration", DEFAULT_CONFIG
    else:
        path = path or "conf/slurm.conf"
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise launcher.UsageError(
                f"cannot read {path}: {error.strerror}."
            ) from error
    config = Config("", {}, {}, {})
    for number, line in enumerate(text.splitlines(), 1):
        line = re.sub(r"\s*#.*", "", line).strip()
        if not line:
            continue
        if match := re.fullmatch(r"command\s+(.+)", line):
            config = config._replace(command=match[1])
        elif match := re.fullmatch(r"option\s+([^=\s]+)=\*\s*(.*)", line):
            config.general[match[1]] = match[2]
        elif match := re.fullmatch(r"option\s+([^=\s]+)=(\S+)\s*(.*)", line):
            config.exact[match[1], match[2]] = match[3]
        elif match := re.fullmatch(r"default\s+([^=\s]+)=(\S+)", line):
            config.default[match[1]] = match[2]
        else:
            raise launcher.UsageError(
                f"{path}, line {number}: {line!r} is none of 'command ...', 'option "
                "name=value ...', 'default name=value'."
            )
    if not config.command:
        raise launcher.UsageError(f"{path}: has no line 'command sbatch ...'.")
    return config


def submit_words(config: Config, options: Dict[str, str]) -> List[str]:
    """Return the submitting command with the words that the options add.

    Raises:
        launcher.UsageError: the configuration does not know an option or its value.
    """
    given = {**config.default, **options}
    words = shlex.split(config.command)
    for name, value in given.items():
        if name in ("config", "max_jobs_run"):
            continue
        if (name, value) in config.exact:
            words += shlex.split(config.exact[name, value])
        elif name in config.general:
            words += shlex.split(config.general[name].replace("$0", value))
        else:
            raise launcher.UsageError(
                f"--{name.replace('_', '-')} {value}: the configuration has no 'option "
                f"{name}={value}' and no 'option {name}=*' line."
            )
    return words


def job_script(job: launcher.Job, status: Path, threads: str) -> str:
    """Return the script that runs one job on a node and leaves its exit status."""
    log = shlex.quote(job.log)
    done, unfinished = shlex.quote(str(status)), shlex.quote(f"{status}.{os.getpid()}")
    return f"""\
#!/usr/bin/env bash
cd {shlex.quote(os.getcwd())} || exit 1
if [ -e path.sh ]; then . ./path.sh; fi
{{
    printf '# %s\\n' {shlex.quote(job.command)}
    echo "# Started at $(date)"
    echo "# Running on $(hostname), Slurm job ${{SLURM_JOB_ID:-unknown}}"
    echo "#"
}} > {log}
SECONDS=0
(
{job.command}
) >> {log} 2>&1 < /dev/null
code=$?
{{
    echo "# Accounting: time=${{SECONDS}} threads={threads}"
    echo "# Ended (code ${{code}}) at $(date), elapsed time ${{SECONDS}} seconds"
}} >> {log}
echo "${{code}}" > {unfinished} && mv {unfinished} {done}
exit "${{code}}"
"""


def read_status(path: Path) -> Optional[int]:
    """Return the exit status that a job left, or None if it left none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def submit(words: List[str], said: Path) -> Tuple[int, str]:
    """Submit, and wait for the end of the jobs, as sbatch --wait does.

    Args:
        words: The sbatch command.
        said: The file for sbatch's own output.

    Returns:
        sbatch's exit status, and the number of the job ("" if none was made).

    Raises:
        launcher.StoppedError: a signal came, or the calling script has ended; the jobs
            are cancelled.
    """
    try:
        with launcher.StopCheck() as stop:
            with said.open("wb") as output:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            while process.poll() is None:
                stop.check()
                time.sleep(0.2)
    except launcher.StoppedError:
        job_id = submitted_job(said)
        if job_id:
            cancel(job_id)
        launcher.end_groups([process.pid], signal.SIGTERM, process.poll)
        # It may have been submitting just then.
        if not job_id and (job_id := submitted_job(said)):
            cancel(job_id)
        raise
    return process.returncode, submitted_job(said)


def cancel(job_id: str) -> None:
    """Cancel a job."""
    subprocess.run(["scancel", job_id], stdin=subprocess.DEVNULL)


def submitted_job(said: Path) -> str:
    """Return the number that sbatch --parsable printed, or ""."""
    match = re.search(r"^(\d+)(;\S+)?$", said.read_text(errors="replace"), re.MULTILINE)
    return match[1] if match else ""


def run_slurm(request: launcher.Request) -> int:
    """Submit all jobs, wait for their end and report.

    Returns:
        The script's exit status.

    Raises:
        launcher.UsageError: the configuration or a log cannot be used, or sbatch fails.
    """
    config = read_config(request.options.get("config"))
    words = submit_words(config, request.options)
    if shutil.which(words[0]) is None:
        raise launcher.UsageError(
            f"{words[0]}: not found. Run this on a machine that submits to Slurm, or "
            "choose another cmd_backend in cmd.sh."
        )
    threads = request.options.get("num_threads", "1")

    logs = [Path(job.log).resolve() for job in request.jobs]
    for log in logs:
        launcher.make_parent(str(log))
        with contextlib.suppress(OSError):
            log.unlink()
    queue = Path(os.path.commonpath([log.parent for log in logs])) / "q"
    queue.mkdir(exist_ok=True)
    stem = Path(request.log).name
    if request.name is not None:
        stem = stem.replace(f".{request.name}", "").replace(request.name, "")
    statuses = {}
    for job in request.jobs:
        number = 0 if job.number is None else job.number
        status = statuses[job.number] = queue / f"{stem}.{number}.status"
        status.unlink(missing_ok=True)
        script = queue / f"{stem}.{number}.sh"
        script.write_text(job_script(job, status, threads), encoding="utf-8")
    submitted = queue / f"{stem}.sh"
    which = "0" if request.name is None else "${SLURM_ARRAY_TASK_ID}"
    scripts = shlex.quote(f"{queue}/{stem}.")
    submitted.write_text(
        f'#!/usr/bin/env bash\nexec bash {scripts}"{which}".sh\n', encoding="utf-8"
    )

    words += ["--wait", "--parsable", "--open-mode=append"]
    words += ["--output", f"{queue}/{stem}.slurm"]
    if request.name is not None:
        array = f"{request.jobs[0].number}-{request.jobs[-1].number}"
        if "max_jobs_run" in request.options:
            limit = launcher.count(request.options, "max_jobs_run", 1, least=1)
            array += f"%{limit}"
        words += ["--array", array]
    words.append(str(submitted))

    said = queue / f"{stem}.sbatch"
    try:
        returncode, job_id = submit(words, said)
    except launcher.StoppedError as stopped:
        print(
            f"slurm.pl: stopped ({stopped}), the jobs are cancelled; log is in "
            f"{launcher.log_pattern(request)}",
            file=sys.stderr,
        )
        return 128 + stopped.signum
    if not job_id:
        raise launcher.UsageError(
            f"submitting failed (code {returncode}): {shlex.join(words)}\n"
            + said.read_text(errors="replace")
        )

    deadline = time.monotonic() + PATIENCE
    codes: Dict[Optional[int], Optional[int]] = {}
    while True:
        codes = {number: read_status(path) for number, path in statuses.items()}
        if None not in codes.values() or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    lost = [str(number or "the job") for number, code in codes.items() if code is None]
    if lost:
        print(
            f"slurm.pl: {', '.join(lost)} ended without a word: Slurm may have ended "
            f"it for time or memory. See sacct -j {job_id} and {queue}/{stem}.slurm",
            file=sys.stderr,
        )
    final = {number: 1 if code is None else code for number, code in codes.items()}
    return launcher.report("slurm.pl", request, final)


if __name__ == "__main__":
    launcher.show_usage("slurm.pl", __doc__, sys.argv[1:])
    try:
        exit_status = run_slurm(launcher.parse(sys.argv[1:]))
    except launcher.UsageError as error:
        exit_status = f"slurm.pl: error: {error}"
    sys.exit(exit_status)
