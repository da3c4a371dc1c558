#!/usr/bin/env python3
"""The front door: ``avsep <command>`` has every command of the package."""

import importlib
import os
import sys
from typing import Optional, Sequence

from espnet2_avsep import __version__
from espnet2_avsep.cli.command import command
from espnet2_avsep.cli.commands import COMMANDS, GROUPS
from espnet2_avsep.cli.options import EPILOG
from espnet2_avsep.errors import DISK_ERRORS, InputError, close_to


def help_page() -> str:
    """Return the page of ``avsep --help``."""
    lines = [
        "usage: avsep [--help] [--version] <command> ...",
        "",
        "Audio-visual sound source separation. avsep <command> --help lists options.",
    ]
    for group, title in GROUPS.items():
        lines += ["", f"{title}:"]
        own = (c for c in COMMANDS.values() if c.group == group)
        lines += (f"  {c.name:<20}{c.help}" for c in own)
    lines += ["", "Of an unexpected error, AVSEP_DEBUG=1 shows where it happened."]
    return "\n".join([*lines, EPILOG.rstrip()])


@command
def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command; ``argv`` defaults to the command line."""
    name, *words = argv or [""]
    if name in ("-h", "--help"):
        print(help_page())
        return 0
    if name == "--version":
        print(f"espnet2_avsep {__version__}")
        return 0
    if name not in COMMANDS:
        if not name:
            print(help_page(), file=sys.stderr)
        raise InputError(
            f"{name!r}{close_to(name, COMMANDS)}: expected a command; avsep --help "
            "lists them."
        )
    return run(name, words)


def run(name: str, words: Sequence[str]) -> int:
    """Run a command.

    Errors that are no InputError are one line for the commands that a person runs on
    own recordings; of others, the log needs the traceback.
    """
    chosen = COMMANDS[name]
    module = importlib.import_module(f"espnet2_avsep.{chosen.module}")
    try:
        return module.main(words)
    except OSError as error:
        if chosen.group != "separate" or error.errno in DISK_ERRORS:
            raise
        file = f"{str(error.filename)[:200]!r}"
        raise InputError(f"{file}: {error.strerror or error}.") from error
    except Exception as error:
        if chosen.group != "separate" or os.environ.get("AVSEP_DEBUG"):
            raise
        what = " ".join(str(error).split())[:500]
        print(
            f"error: unexpected {type(error).__name__}: {what}. This is likely a fault "
            "of avsep; AVSEP_DEBUG=1 shows where it happened.",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
