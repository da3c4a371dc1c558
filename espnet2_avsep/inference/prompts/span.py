"""Time spans in seconds, as values and as text."""

import math
import re
from typing import Tuple

from espnet2_avsep.errors import InputError

Span = Tuple[float, float]
# Seconds, m:ss or h:mm:ss.
_SIXTY = r"[0-5]?\d"
TIME = rf"(?:(?:\d+:(?:{_SIXTY}:)?{_SIXTY}|\d+)(?:\.\d*)?|\.\d+)"
_SPAN = rf"(?:{TIME}-(?:{TIME})?|-{TIME})"
# What ends in @FROM-TO,FROM-TO...: the rest, and the spans.
SPANS = re.compile(rf"(.+)@({_SPAN}(?:,{_SPAN})*)", re.DOTALL)
LIKE_SPANS = re.compile(r".+@[\d:.,\s-]+", re.DOTALL)


def seconds(text: str) -> float:
    """Read seconds, m:ss or h:mm:ss.

    Example:
        >>> [seconds(text) for text in ("7.5", "1:05", "1:00:00.5")]
        [7.5, 65.0, 3600.5]
    """
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def parse_span(text: str, query: str) -> Span:
    """Read FROM-TO; one of the two may be missing.

    Args:
        text: FROM-TO.
        query: Whose span, for the message.

    Raises:
        InputError: it does not end after it begins.
    """
    begin, _, end = text.partition("-")
    span = (seconds(begin or "0"), seconds(end) if end else math.inf)
    if span[0] >= span[1]:
        raise InputError(
            f"--query {query!r:.200}: the time span {text} does not end after it "
            "begins."
        )
    return span


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and no truth value."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def check_span(span: object, what: str, endless: bool = False) -> None:
    """Check a time span in seconds.

    Args:
        span: (begin, end).
        what: Whose span, for the message.
        endless: Whether the end may be infinite.

    Raises:
        InputError: it has not 0 <= begin < end.
    """
    values = tuple(span) if isinstance(span, (tuple, list)) else ()
    if len(values) == 2:
        begin, end = values
        ends = is_number(end) or (endless and end == math.inf)
        if is_number(begin) and ends and 0 <= begin < end:
            return
    raise InputError(f"{what}: {span!r}; expected 0 <= begin < end in seconds.")
