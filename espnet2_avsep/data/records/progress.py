"""Progress of a long loop, as lines of a log."""

import logging
import time

INTERVAL = 10.0  # s between two lines


class Progress:
    """Logs how far a loop is, at most every ``INTERVAL`` s.

    Args:
        total: Number of steps.
        what: What is counted, e.g. "clips".
    """

    def __init__(self, total: int, what: str = "clips"):
        self.total = total
        self.what = what
        self.done = 0
        self._begin = self._last = time.monotonic()

    def step(self) -> None:
        """Count one step and log where it is time to."""
        self.done += 1
        now = time.monotonic()
        if now - self._last < INTERVAL and self.done < self.total:
            return
        self._last = now
        rate = self.done / max(now - self._begin, 1e-9)
        logging.info(
            "%d of %d %s, %.2f a second, about %d s left",
            self.done,
            self.total,
            self.what,
            rate,
            round((self.total - self.done) / rate),
        )
