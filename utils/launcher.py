"""What run.pl, stdout.pl and slurm.pl share: Kaldi's command line, logs and reports.

Standard library only. The three scripts are run from a recipe as

    <script> [options] [JOB=1:N] <log> <command> [<argument> ...]

and their quoting, their logs and their exit status are those of Kaldi's scripts of the
same names.
"""

import contextlib
import fcntl
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

# Seconds that a job gets between being told to stop and being killed.
GRACE = 5.0
# Options of run.pl and stdout.pl; the last five are slurm.pl's and do nothing here.
LOCAL_OPTIONS = (
    "max_jobs_run",
    "gpu",
    "num_threads",
    "mem",
    "time",
    "name",
    "num_nodes",
    "config",
)
# How much of the failed jobs' logs is shown.
SHOWN_LOGS = 3
SHOWN_LINES = 12


class UsageError(Exception):
    """A command line, a configuration file or a log that cannot be used."""


class StoppedError(Exception):
    """We were told to stop.

    Args:
        reason: What happened, for the report.
        signum: The signal to hand on to the jobs.
    """

    def __init__(self, reason: str, signum: int):
        super().__init__(reason)
        self.signum = signum


class Job(NamedTuple):
    """One command to run.

    Attributes:
        number: The value of JOB; None where the command line has no JOB=1:N.
        command: The line given to bash.
        log: Where its output goes.
    """

    number: Optional[int]
    command: str
    log: str


class Request(NamedTuple):
    """A parsed command line.

    Attributes:
        options: Options before the log, by name, with "_" for "-".
        name: The word that the job's number replaces, usually "JOB"; None without one.
        jobs: The commands.
        log: The log as it was given, with ``name`` in it.
    """

    options: Dict[str, str]
    name: Optional[str]
    jobs: List[Job]
    log: str


def quote(words: Sequence[str]) -> str:
    """Join arguments into a line for bash, as Kaldi does.

    A word without white space is taken as it is, so that escaped shell syntax such as
    a pipe reaches the shell. Any other word is quoted: with single quotes where it
    holds a double quote, else with double quotes.
    """
    quoted = []
    for word in words:
        if re.fullmatch(r"\S+", word):
            quoted.append(word)
        elif '"' in word:
            quoted.append("'" + word.replace("'", "'\\''") + "'")
        else:
            quoted.append(f'"{word}"')
    return " ".join(quoted)


def parse(argv: Sequence[str], known: Optional[Sequence[str]] = None) -> Request:
    """Parse a Kaldi-style command line.

    Args:
        argv: The arguments, without the script's name.
        known: The names of the options that are accepted; None accepts all.

    Raises:
        UsageError: an unknown option, a missing value, an invalid range, no command.
    """
    rest = list(argv)
    options: Dict[str, str] = {}
    name, numbers = None, [None]
    while rest:
        match = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", rest[0])
        if match and name is None:
            name = match[1]
            first, last = int(match[2]), int(match[3] or match[2])
            if not 1 <= first <= last:
                raise UsageError(
                    f"invalid job range {rest[0]}: the first number must be at least 1 "
                    "and not above the last."
                )
            numbers = list(range(first, last + 1))
            del rest[0]
        elif rest[0].startswith("--"):
            option = rest[0][2:].replace("-", "_")
            if "=" in option:
                raise UsageError(f"{rest[0]}: write the value as a word of its own.")
            if known is not None and option not in known:
                raise UsageError(
                    f"unknown option {rest[0]}; there are "
                    + ", ".join("--" + word.replace("_", "-") for word in known)
                    + "."
                )
            if len(rest) < 2:
                raise UsageError(f"{rest[0]}: its value is missing.")
            options[option] = rest[1]
            del rest[:2]
        else:
            break
    if len(rest) < 2:
        raise UsageError("a log file and a command are needed.")
    log, command = rest[0], quote(rest[1:])
    if log.startswith("-"):
        raise UsageError(f"{log}: unknown option.")
    if name is not None and len(numbers) > 1 and name not in log:
        raise UsageError(
            f"{len(numbers)} jobs would write into one log file, {log}: put {name} "
            "into its name."
        )
    jobs = [
        Job(n, command, log)
        if n is None
        else Job(n, command.replace(name, str(n)), log.replace(name, str(n)))
        for n in numbers
    ]
    return Request(options, name, jobs, log)


def count(options: Dict[str, str], name: str, default: int, least: int = 0) -> int:
    """Return the whole number that an option gives.

    Raises:
        UsageError: it is not one, or below ``least``.
    """
    value = options.get(name, str(default))
    if not re.fullmatch(r"\d+", value) or int(value) < least:
        raise UsageError(
            f"--{name.replace('_', '-')} {value}: expected a whole number, {least} or "
            "more."
        )
    return int(value)


def now() -> str:
    """Return the time as date prints it."""
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def log_pattern(request: Request) -> str:
    """Return the logs' path, with "*" for the job's number where there are several."""
    if request.name is None:
        return request.log
    if len(request.jobs) == 1:
        return request.jobs[0].log
    return request.log.replace(request.name, "*")


def tail(path: str, lines: int = SHOWN_LINES) -> List[str]:
    """Return the last lines of a log, without the launcher's own at its end."""
    try:
        with open(path, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 20_000))
            text = f.read().decode(errors="replace").replace("\r", "\n")
    except OSError as error:
        return [f"(cannot be read: {error.strerror})"]
    kept = [line for line in text.split("\n") if line.strip()]
    while kept and re.match(r"# (Accounting|Ended)", kept[-1]):
        kept.pop()
    return kept[-lines:]


def report(program: str, request: Request, codes: Dict[Optional[int], int]) -> int:
    """Say which jobs failed, where their logs are and how these end.

    Args:
        program: The name of the script.
        request: What was asked for.
        codes: The exit status of each job, by number.

    Returns:
        The script's exit status: 0 if no job failed, else 1.
    """
    failed = [job for job in request.jobs if codes[job.number] != 0]
    if not failed:
        return 0
    if len(request.jobs) == 1:
        lines = [
            f"{program}: job failed (code {codes[failed[0].number]}), log is in "
            f"{failed[0].log}"
        ]
        if "JOB" in failed[0].log:
            lines.append(f"{program}: was JOB=1:$nj forgotten before the log file?")
    else:
        names = [f"{job.number} (code {codes[job.number]})" for job in failed]
        lines = [
            f"{program}: {len(failed)} / {len(request.jobs)} failed, log is in "
            f"{log_pattern(request)}",
            f"{program}: failed: {request.name} = {', '.join(names)}",
        ]
    if any(codes[job.number] == 137 for job in failed):
        lines.append(
            f"{program}: code 137 means killed, mostly for want of memory: run fewer "
            "jobs at a time."
        )
    for job in failed[:SHOWN_LOGS]:
        lines.append(f"---- the end of {job.log}")
        lines.extend(tail(job.log))
    if len(failed) > SHOWN_LOGS:
        lines.append(f"---- and {len(failed) - SHOWN_LOGS} more")
    print("\n".join(lines), file=sys.stderr, flush=True)
    return 1


def visible_gpus() -> List[str]:
    """Return the GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        # As CUDA does: up to the first number that no GPU has.
        return list(itertools.takewhile(lambda name: not name.startswith("-"), names))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i in range(len(re.findall(r"^GPU ", listed, re.MULTILINE)))]


class Watchdog:
    """A process that ends the running jobs should this one be killed outright.

    Jobs have process groups of their own, so that whatever they started can be ended
    with them. A kill -9 of the launcher would therefore leave them running, and a
    second run would meet them at work on the same files.
    """

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._watch(reader)
            finally:
                os._exit(0)
        os.close(reader)

    def _watch(self, reader: int) -> None:
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        os.close(self._writer)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        groups = set()
        with os.fdopen(reader) as messages:
            for line in messages:
                group = int(line[1:])
                (groups.add if line[0] == "+" else groups.discard)(group)
        end_groups(groups, signal.SIGTERM)

    def _send(self, message: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._writer, message.encode())

    def started(self, group: int) -> None:
        """A job runs in this process group."""
        self._send(f"+{group}\n")

    def finished(self, group: int) -> None:
        """The job of this process group has ended."""
        self._send(f"-{group}\n")

    def close(self) -> None:
        """No job runs any more."""
        os.close(self._writer)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _signal_group(group: int, signum: int) -> bool:
    """Send a signal to a process group; return whether it still exists."""
    try:
        os.killpg(group, signum)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Some systems say so of a group in which all have ended.
        return False
    return True


def end_groups(groups, signum: int, reap=lambda: None) -> None:
    """Send process groups a signal and kill what is left of them after a while.

    Args:
        groups: Process group ids.
        signum: The signal.
        reap: Called while waiting, to collect ended children.
    """
    left = {group for group in groups if _signal_group(group, signum)}
    deadline = time.monotonic() + GRACE
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        reap()
        left = {group for group in left if _signal_group(group, 0)}
    for group in left:
        _signal_group(group, signal.SIGKILL)


class StopCheck:
    """Notices that we are to stop: SIGINT, SIGTERM or SIGHUP, or our caller has ended.

    Signals that were ignored at the start stay ignored; where SIGHUP was (nohup), the
    end of the caller does not matter either. To be used as a context manager.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._received: List[int] = []
        self._previous: Dict[int, object] = {}

    def __enter__(self) -> "StopCheck":
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) != signal.SIG_IGN:
                self._previous[signum] = signal.signal(
                    signum, lambda number, frame: self._received.append(number)
                )
        return self

    def __exit__(self, *exception) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Raise StoppedError if we are to stop."""
        if self._received:
            name = signal.Signals(self._received[0]).name
            raise StoppedError(f"got {name}", self._received[0])
        if signal.SIGHUP in self._previous and os.getppid() != self._parent:
            raise StoppedError("the calling script has ended", signal.SIGTERM)


def make_parent(path: str) -> None:
    """Make the folder of a file.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder of {path}: {error.strerror}."
        ) from error


def open_log(path: str) -> int:
    """Open a log for a new job, empty, and return its file descriptor.

    The descriptor holds a lock which the job inherits, so that a log is locked as long
    as anything of the job is alive.

    Raises:
        UsageError: it cannot be written, or an earlier run's job is still at work.
    """
    make_parent(path)
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}.") from error
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(log)
        raise UsageError(
            f"{path}: a job of an earlier run is still writing it. Wait for its end or "
            "stop it (ps -ef shows it), then run again."
        ) from None
    except OSError:
        pass  # this file system has no locks
    os.ftruncate(log, 0)
    return log


class _Running(NamedTuple):
    job: Job
    process: subprocess.Popen
    log: int
    start: float
    slot: int


def _start(job: Job, tee: bool, devices: Optional[str], slot: int) -> _Running:
    log = open_log(job.log)
    head = f"# {job.command}\n# Started at {now()}\n#\n"
    try:
        os.write(log, head.encode(errors="surrogateescape"))
    except OSError as error:
        os.close(log)
        raise UsageError(f"cannot write {job.log}: {error.strerror}.") from error
    command, output = job.command, log
    if tee:
        print(head, end="", flush=True)
        copy = f"tee -a {shlex.quote(job.log)}"
        command, output = f"set -o pipefail\n( {command}\n) 2>&1 | {copy}", None
    environment = dict(os.environ)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    try:
        process = subprocess.Popen(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            pass_fds=(log,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(log)
        raise UsageError(f"cannot start bash: {error.strerror}.") from error
    return _Running(job, process, log, time.time(), slot)


def _exit_status(returncode: int) -> Tuple[int, str]:
    """Return the status as a shell has it, and as the log has it."""
    if returncode >= 0:
        return returncode, f"code {returncode}"
    return 128 - returncode, f"code {128 - returncode}; signal {-returncode}"


def _finish(running: _Running, threads: int, tee: bool) -> int:
    code, described = _exit_status(running.process.returncode)
    elapsed = round(time.time() - running.start)
    end = (
        f"# Accounting: time={elapsed} threads={threads}\n"
        f"# Ended ({described}) at {now()}, elapsed time {elapsed} seconds\n"
    )
    try:
        os.write(running.log, end.encode())
    except OSError as error:
        print(f"{running.job.log}: {error.strerror}", file=sys.stderr)
        code = code or 1
    finally:
        os.close(running.log)
    if tee:
        print(end, end="", flush=True)
    return code


def _reap(running: Dict[int, _Running]) -> List[int]:
    """Return the process ids of the jobs that have ended."""
    return [pid for pid, one in running.items() if one.process.poll() is not None]


def run_local(program: str, request: Request, tee: bool = False) -> int:
    """Run all jobs on this machine and report.

    Args:
        program: The name of the script.
        request: What to run.
        tee: Whether output goes to stdout besides the log.

    Returns:
        The script's exit status.

    Raises:
        UsageError: an option's value or a log cannot be used.
    """
    options, jobs = request.options, request.jobs
    threads = count(options, "num_threads", 1, least=1)
    gpus_each = count(options, "gpu", 0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    slots, devices = max(1, cores // threads), []
    if gpus_each > 0 and len(jobs) > 1:
        devices = visible_gpus()
        slots = max(1, len(devices) // gpus_each)
        if not devices:
            print(f"{program}: no GPU found, one job at a time", file=sys.stderr)
    limit = count(options, "max_jobs_run", slots, least=1)

    waiting = list(reversed(jobs))
    free = list(range(min(limit, len(jobs)) - 1, -1, -1))
    running: Dict[int, _Running] = {}
    codes: Dict[Optional[int], int] = {}
    watchdog = Watchdog()
    pause = 0.005
    try:
        with StopCheck() as stop:
            while waiting or running:
                while waiting and free:
                    slot = free.pop()
                    first = slot % slots * gpus_each
                    own = ",".join(devices[first : first + gpus_each])
                    one = _start(waiting.pop(), tee, own if devices else None, slot)
                    running[one.process.pid] = one
                    watchdog.started(one.process.pid)
                for pid in _reap(running):
                    one = running.pop(pid)
                    code = codes[one.job.number] = _finish(one, threads, tee)
                    if code != 0:
                        _signal_group(pid, signal.SIGTERM)
                    watchdog.finished(pid)
                    free.append(one.slot)
                    pause = 0.005
                stop.check()
                if running:
                    time.sleep(pause)
                    pause = min(0.2, pause * 1.5)
    except StoppedError as stopped:
        end_groups(set(running), stopped.signum, lambda: _reap(running))
        for one in running.values():
            one.process.wait()
            _finish(one, threads, tee)
        with contextlib.suppress(OSError):
            print(
                f"{program}: stopped ({stopped}); log is in {log_pattern(request)}",
                file=sys.stderr,
                flush=True,
            )
        return 128 + stopped.signum
    except UsageError:
        end_groups(set(running), signal.SIGTERM, lambda: _reap(running))
        raise
    finally:
        watchdog.close()
    return report(program, request, codes)


def show_usage(program: str, text: str, argv: Sequence[str]) -> None:
    """Print the usage and leave if it was asked for or nothing was."""
    if not argv or argv[0] in ("-h", "--help"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        stream = sys.stdout if argv else sys.stderr
        print(text.strip().replace("%PROGRAM%", program), file=stream)
        sys.exit(0 if argv else 1)
