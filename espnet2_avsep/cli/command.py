"""What every command line of the package shares: logging and error reporting."""

import argparse
import functools
import logging
import os
import re
import sys
import warnings
from typing import Callable, List, Optional, Sequence

from espnet2_avsep.errors import DISK_ERRORS, PATH_ERRORS, InputError

LOG_FORMAT = "%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s"
INTERRUPTED = (
    "interrupted. Run the same command again to go on: what is finished is kept."
)
_OPTION = re.compile(r"--[A-Za-z][\w-]*(=.*)?", re.DOTALL)


def setup_logging(level: str = "INFO") -> None:
    """Log to stderr in ESPnet's format."""
    logging.basicConfig(level=level.upper(), format=LOG_FORMAT)


def let_idle_threads_sleep() -> None:
    """Ask OpenMP for threads that sleep while they wait, unless the user has chosen.

    Beside another busy process, two spinning threads are 3-4 times slower than one.
    OpenMP reads its settings when torch is first imported.
    """
    if not os.environ.get("GOMP_SPINCOUNT"):
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def str2bool(value: str) -> bool:
    """Parse "true" or "false", as ESPnet's options are given."""
    if value.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, not {value!r}")
    return value.lower() == "true"


def underscored(argv: Sequence[str]) -> List[str]:
    """Write the names of options with underscores; values stay as they are.

    Example:
        >>> underscored(["--max-epoch", "a-b", "--tag=a-b", "--", "--a-b"])
        ['--max_epoch', 'a-b', '--tag=a-b', '--', '--a-b']
    """
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    for n, word in enumerate(words[:end]):
        if _OPTION.fullmatch(word):
            name, equals, value = word.partition("=")
            words[n] = "--" + name[2:].replace("-", "_") + equals + value
    return words


def hide_future_warnings() -> None:
    """Hide the FutureWarnings of libraries: they address developers, not users.

    Python's own option -W and PYTHONWARNINGS keep their meaning.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)


def command(main: Callable, interrupted: str = INTERRUPTED) -> Callable:
    """Decorate a ``main(argv=None)``; ``interrupted`` is what Ctrl-C prints.

    An InputError, or a file that cannot be opened or made, becomes one line and status
    2, Ctrl-C a line and status 130. Hyphens and underscores in the names of options are
    the same.
    """

    @functools.wraps(main)
    def wrapper(argv: Optional[Sequence[str]] = None) -> int:
        let_idle_threads_sleep()
        hide_future_warnings()
        try:
            return main(underscored(sys.argv[1:] if argv is None else argv)) or 0
        except KeyboardInterrupt:
            print(interrupted, file=sys.stderr)
            return 130
        except InputError as error:
            # A file's name may hold what no encoding has a character for.
            text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
            print(f"error: {text}", file=sys.stderr)
            return 2
        except BrokenPipeError:
            return 141
        except OSError as error:
            if error.errno in PATH_ERRORS and error.filename:
                print(
                    f"error: {str(error.filename)[:200]!r}: {error.strerror}. Give "
                    "another file or folder.",
                    file=sys.stderr,
                )
                return 2
            if error.errno not in DISK_ERRORS:
                raise
            print(
                f"error: cannot write: {error}. Free some space, or choose another "
                "output folder; then run again: what is finished is kept.",
                file=sys.stderr,
            )
            return 2

    return wrapper
