"""Work that is shared by a few processes."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable, Iterator, Sequence

from espnet2_avsep.errors import InputError


def map_in_processes(
    work: Callable[[Any], Any], tasks: Sequence[Any], nj: int, start: str = "fork"
) -> Iterator[Any]:
    """Yield the result of each task, in the order of the tasks.

    Unlike multiprocessing.Pool, which then waits for ever, this ends where a process is
    killed. The processes end with this one, even if it is killed. With one process or
    one task, the work is done here.

    Args:
        work: Function of a module, so that it can be given to other processes.
        tasks: Its argument, for each call.
        nj: Number of processes at most.
        start: How a process is started, "fork" or "spawn".

    Raises:
        InputError: a process was killed.
        Exception: what ``work`` raises; the other processes are ended.
    """
    nj = min(nj, len(tasks))
    if nj <= 1:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context(start)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(nj, context, _end_with_parent) as pool:
        jobs = [pool.submit(work, task) for task in tasks]
        try:
            for job in jobs:
                yield job.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    f"one of {nj} processes was killed, most likely because the "
                    "machine or the container ran out of memory. Lower --nj and run "
                    "again."
                ) from error
            raise


def _end_with_parent() -> None:
    """End this process when its parent is gone, even by kill -9."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
