"""A progress bar over all the work on a recording."""

import contextlib
import sys
from typing import Any, Callable, Optional

# Is told how much is done, and of how much (None: not known).
Progress = Callable[[float, Optional[float]], None]


class ProgressBar:
    """A progress bar on stderr over all the work on a recording.

    Log lines go above it. The parts of the work have fixed shares of the bar.
    ``report`` is told the part and the share of the work that is done.
    """

    def __init__(
        self,
        title: str,
        quiet: bool,
        report: Optional[Callable[[str, float], None]] = None,
    ):
        self._title, self._quiet, self._report = title, quiet, report
        self._done, self._what = 0.0, ""
        self._bar: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "ProgressBar":
        if not self._quiet:
            from tqdm import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._stack.enter_context(logging_redirect_tqdm())
            self._bar = tqdm(
                total=1.0,
                desc=self._title,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}",
                file=sys.stderr,
            )
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        self._stack.close()
        if self._bar is not None:
            if kind is None:
                self._move(1.0)
            self._bar.close()

    def part(self, what: str, end: float) -> Progress:
        """Begin a part of the work; return what to tell its progress.

        Args:
            what: It is called.
            end: Share of all the work, in [0, 1], that is done when it has ended.
        """
        begin, self._what = self._done, what
        if self._bar is not None:
            self._bar.set_postfix_str(what)

        def progress(done: float, total: Optional[float]) -> None:
            # Decoded sound may be a little longer than the file states.
            share = min(1.0, done / total) if total else 0.0
            self._move(begin + share * (end - begin))

        self._done = end
        return progress

    def _move(self, to: float) -> None:
        if self._report is not None:
            self._report(self._what, to)
        if self._bar is not None:
            self._bar.update(max(0.0, to - self._bar.n))
