"""Work in a few processes that can be ended when they stall."""

import contextlib
import heapq
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Callable, Dict, Hashable, Iterable, List, Optional, Tuple

from espnet2_avsep.corpus.download.video_error import OURS, TRANSIENT, VideoError
from espnet2_avsep.errors import InputError

Beat = Callable[[], None]
# Seconds between two signs of life.
_BEAT = 0.2
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


@dataclass(frozen=True)
class RequestPolicy:
    """How patient and how polite to be.

    Attributes:
        timeout: Seconds without a sign of life after which a job counts as stalled.
        retries: Further attempts after a failure that may pass.
        retry_wait: Seconds before the first of them; doubled for each further one.
            Where the site asks for a slower pace, nothing new is begun meanwhile.
        sleep_interval: Seconds that a worker rests after a job.
        give_up_after: Failures in a row that are ours rather than the videos' (no
            network, blocked) after which the run ends.
    """

    timeout: float = 120.0
    retries: int = 2
    retry_wait: float = 60.0
    sleep_interval: float = 5.0
    give_up_after: int = 20


@dataclass
class _Worker:
    process: Any
    connection: Connection
    task: Optional[Tuple[int, int, Any]] = None  # order, attempt, job
    last_beat: float = 0.0
    free_at: float = 0.0


# A heap of jobs: from when they may begin, order, attempt, job.
_Queue = List[Tuple[float, int, int, Any]]


def run_jobs(
    jobs: Iterable[Hashable],
    work: Callable[[Any, Beat], Dict[str, Any]],
    nj: int,
    policy: RequestPolicy,
    done: Callable[[Any, Optional[Dict[str, Any]], Optional[VideoError]], None],
) -> None:
    """Do jobs in ``nj`` processes, with retries; a stalled process is ended.

    Args:
        jobs: What ``work`` is called with.
        work: Does one job in another process. It calls its second argument now and
            then, to show that it lives, and raises VideoError where the job failed.
        nj: Number of processes.
        policy: See there.
        done: Called in this process with a job and its result or its last failure.

    Raises:
        InputError: too many failures in a row that are not the jobs'; the disk is
            full; ``work`` raised it.
    """
    queue: _Queue = [(0.0, order, 0, job) for order, job in enumerate(jobs)]
    workers: List[_Worker] = []
    trouble: List[VideoError] = []  # in a row
    pause_until = 0.0
    try:
        while queue or any(worker.task for worker in workers):
            now = time.monotonic()
            while len(workers) < min(nj, len(queue)):
                workers.append(_start(work))
            for worker in workers:
                if worker.task or not queue:
                    continue
                if now < max(worker.free_at, pause_until, queue[0][0]):
                    continue
                _, order, attempt, job = heapq.heappop(queue)
                worker.task, worker.last_beat = (order, attempt, job), now
                worker.connection.send(job)
            ready = wait(
                [worker.connection for worker in workers],
                _patience(workers, queue, pause_until, policy.timeout),
            )
            for i, worker in enumerate(workers):
                outcome = _hear(worker, worker.connection in ready, policy.timeout)
                if outcome is None or worker.task is None:
                    continue
                order, attempt, job = worker.task
                result, failure = outcome
                worker.task = None
                worker.free_at = time.monotonic() + policy.sleep_interval
                if failure is not None and failure.kind in ("stalled", "crashed"):
                    _end(worker)
                    workers[i] = _start(work)
                    workers[i].free_at = worker.free_at
                if failure is None:
                    trouble.clear()
                    done(job, result, None)
                    continue
                if failure.kind == "disk full":
                    raise InputError(
                        f"the disk is full ({failure.detail}). Free some space and run "
                        "the same command again: what is finished is kept."
                    )
                if failure.kind in OURS:
                    trouble.append(failure)
                else:
                    trouble.clear()
                pause = time.monotonic() + policy.retry_wait * 2**attempt
                if failure.kind in ("rate limited", "bot check"):
                    pause_until = max(pause_until, pause)
                if failure.kind in TRANSIENT and attempt < policy.retries:
                    logging.info("%s: %s; will be tried again", job, failure)
                    heapq.heappush(queue, (pause, order, attempt + 1, job))
                else:
                    done(job, None, failure)
                if len(trouble) >= policy.give_up_after:
                    raise _give_up(trouble)
    finally:
        for worker in workers:
            _end(worker)


def _patience(
    workers: List[_Worker], queue: _Queue, pause_until: float, timeout: float
) -> float:
    """Seconds until something is to be done even if no worker says anything."""
    times = [w.last_beat + timeout for w in workers if w.task]
    if queue:
        free = [w.free_at for w in workers if not w.task]
        if free:
            times.append(max(min(free), pause_until, queue[0][0]))
    return max(min(times, default=0.0) - time.monotonic(), 0.0)


def _hear(
    worker: _Worker, ready: bool, timeout: float
) -> Optional[Tuple[Optional[Dict[str, Any]], Optional[VideoError]]]:
    """Take in what a worker says; return the outcome of its job, if there is one."""
    while ready or worker.connection.poll():
        ready = False
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(1)
            status = worker.process.exitcode
            return None, VideoError(
                "crashed", f"the process ended with status {status}"
            )
        worker.last_beat = time.monotonic()
        if kind == "beat":
            continue
        if kind == "done":
            return value, None
        if kind == "fatal":
            raise InputError(value)
        return None, value
    if worker.task and time.monotonic() - worker.last_beat > timeout:
        return None, VideoError("stalled", f"nothing came for {timeout:g} s")
    return None


def _give_up(trouble: List[VideoError]) -> InputError:
    last = trouble[-1]
    return InputError(
        f"{len(trouble)} attempts in a row failed for reasons that are not the "
        f"videos', the last one: {last}. Look at the network; where the site "
        "blocks this machine, wait some hours, then go on slower (--nj 1, a higher "
        "--sleep_interval), with --cookies or --cookies_from_browser of an account, or "
        "through --proxy. Run the same command again: what is finished is kept."
    )


def _start(work: Callable) -> _Worker:
    # Forked: what it needs is imported already, and it may be given any callable.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs, ours), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.connection.close()


def _serve(work: Callable, connection: Connection, others: Connection) -> None:
    """Do jobs until the parent is gone."""
    others.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent()

    last = 0.0

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > _BEAT:  # hooks come by the thousand
            last = time.monotonic()
            connection.send(("beat", None))

    with contextlib.suppress(EOFError, OSError):
        while True:
            job = connection.recv()
            connection.send(_outcome(work, job, beat))


def _outcome(work: Callable, job: Any, beat: Beat) -> Tuple[str, Any]:
    try:
        return "done", work(job, beat)
    except VideoError as failure:
        return "failed", failure
    except InputError as error:
        return "fatal", str(error)
    except OSError as error:
        kind = "disk full" if error.errno in (28, 30, 122) else "unknown error"
        return "failed", VideoError(kind, str(error))
    except Exception as error:
        logging.debug("%s", job, exc_info=True)
        return "failed", VideoError("unknown error", f"{type(error).__name__}: {error}")


def _die_with_parent() -> None:
    """Ask Linux to end this process with its parent, however that ends."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    # It may have ended before. (It may also be process 1, as in a container.)
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)
