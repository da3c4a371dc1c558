"""The one exception type for what a user gave us and we cannot use."""

import contextlib
import errno
import reprlib
from typing import Iterable, Iterator, Optional

# The disk is full, the quota is used up, the file system is read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# A file or folder cannot be made or opened where an option says.
PATH_ERRORS = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
PATH_ERRORS += (errno.ENAMETOOLONG, errno.ELOOP)
# Characters of a message; of a longer one the middle is left out.
MAX_MESSAGE = 4000
# A terminal would act on these.
_CONTROLS = {
    n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\n\t"
}
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 2, 100, 100


class InputError(ValueError):
    """Input that cannot be used: a file, an option, a configuration value.

    The message names the file or option, the value found, what was expected, and how
    to fix it, control characters as escapes. Commands print it without a traceback and
    exit with status 2.
    """

    def __init__(self, message: str = ""):
        message = visible(str(message))
        if len(message) > MAX_MESSAGE:
            half = MAX_MESSAGE // 2 - 10
            message = f"{message[:half]} [...] {message[-half:]}"
        super().__init__(message)


def visible(text: str) -> str:
    """Return a text with escapes for all control characters but line end and tab."""
    return text.translate(_CONTROLS)


def shown(value: object) -> str:
    """Return ``repr(value)`` for a message, cut short, however deep the value is."""
    text = _REPR.repr(value)
    return text if len(text) <= 200 else f"{text[:195]}[...]"


def close_to(name: object, known: Iterable[str], prefix: str = "") -> str:
    """Return " (did you mean X?)" with the known name that is nearest; "" without one.

    For messages on names that are not known. The prefix stands before the name.
    """
    import difflib

    close = difflib.get_close_matches(str(name), list(known), 1)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


def check_integers(least: int, **values: Optional[float]) -> None:
    """Check that options are integers of at least ``least``, or None.

    Raises:
        InputError: one is not.
    """
    for name, value in values.items():
        if value is not None and (value != int(value) or value < least):
            raise InputError(
                f"{name} is {value}; an integer of at least {least} was expected."
            )


@contextlib.contextmanager
def clear_disk_errors(path: object) -> Iterator[None]:
    """Say plainly that a disk is full, or over quota, while writing ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise InputError(
            f"{path}: cannot be written, {error.strerror.lower()}. Free some space and "
            "run the same command again: what is finished is kept."
        ) from error
