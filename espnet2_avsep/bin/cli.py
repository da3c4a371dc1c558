"""What every command line of the package shares: logging and error reporting."""

import argparse
import functools
import logging
import os
import sys
from typing import Callable, Optional, Sequence

from espnet2_avsep.errors import DISK_ERRORS, InputError

LOG_FORMAT = "%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s"


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


def command(main: Callable) -> Callable:
    """Decorate a ``main(argv=None)``: an InputError becomes one line and status 2."""

    @functools.wraps(main)
    def wrapper(argv: Optional[Sequence[str]] = None) -> int:
        let_idle_threads_sleep()
        try:
            return main(argv) or 0
        except InputError as error:
            # A file's name may hold what no encoding has a character for.
            text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
            print(f"error: {text}", file=sys.stderr)
            return 2
        except BrokenPipeError:
            return 141
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            print(
                f"error: cannot write: {error}. Free some space, or choose another "
                "output folder; then run again: what is finished is kept.",
                file=sys.stderr,
            )
            return 2

    return wrapper
