"""Wait for what processes do, however busy the machine is."""

import time
from typing import Callable


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
