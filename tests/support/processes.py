"""Processes beside the tests; waits for what they do, however busy the machine is."""

import contextlib
import subprocess
import sys
import time
from typing import Callable, Iterator


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until a condition holds; fail after a time that only an error takes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # opened, or read, after its end
        return False


_HOLD = """
import sys
from espnet2_avsep.data.records.lock import lock_folder
with lock_folder(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    input()
"""


@contextlib.contextmanager
def held_by_another(folder: object, what: str) -> Iterator[subprocess.Popen]:
    """Have another process hold the lock of a folder; see lock_folder."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.communicate("\n")
