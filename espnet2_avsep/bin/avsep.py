#!/usr/bin/env python3
"""Separate your own recordings with a trained model: avsep <sub-command>."""

import argparse
import difflib
import importlib
import logging
import os
import sys
from typing import Optional, Sequence

from espnet2_avsep import __version__
from espnet2_avsep.cli.command import INTERRUPTED, LOG_FORMAT, command
from espnet2_avsep.cli.commands import COMMANDS
from espnet2_avsep.errors import DISK_ERRORS, InputError

# Sub-command -> its module in bin, which has a docstring, add_arguments() and run().
SUBCOMMANDS = {
    name: COMMANDS[name].module
    for name in ("separate", "ground", "info", "features", "score")
}
SUBCOMMANDS |= {
    name: COMMANDS[name].module for name in ("export-onnx", "new-recipe", "completion")
}
EPILOG = (
    "exit status: 0 all went well; 1 something unexpected, likely a fault of this "
    "program (AVSEP_DEBUG=1 shows where); 2 an input or an option cannot be used, the "
    "message says which and why; 130 interrupted."
)


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="avsep",
        description="Audio-visual sound separation with a trained model.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--version", action="version", version=f"espnet2_avsep {__version__}"
    )
    parsers = parser.add_subparsers(dest="subcommand", metavar="<sub-command>")
    parsers.required = True
    for name, module_name in SUBCOMMANDS.items():
        module = _module(module_name)
        text = (module.__doc__ or "").strip()
        sub = parsers.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(module=module_name, parser=sub)
        module.add_arguments(sub)
        sub.add_argument(
            "--log_level",
            type=str.upper,
            default="WARNING",
            choices=("DEBUG", "INFO", "WARNING", "ERROR"),
            help="what is told on stderr besides errors",
        )
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command; ``argv`` defaults to the command line."""
    parser = get_parser()
    if not argv:
        parser.print_help(sys.stderr)
        raise InputError("expected a sub-command; they are listed above.")
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0]
        known = [o for a in args.parser._actions for o in a.option_strings]
        close = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    logging.basicConfig(level=args.log_level, format=LOG_FORMAT)
    try:
        return _module(args.module).run(args) or 0
    except (InputError, BrokenPipeError):
        raise  # see cli.command
    except KeyboardInterrupt:
        print(
            getattr(_module(args.module), "INTERRUPTED", INTERRUPTED), file=sys.stderr
        )
        return 130
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise  # see cli.command
        name = f"{str(error.filename)[:200]!r}"
        raise InputError(f"{name}: {error.strerror or error}.") from error
    except Exception as error:
        if os.environ.get("AVSEP_DEBUG"):
            raise
        what = " ".join(str(error).split())[:500]
        print(
            f"error: unexpected {type(error).__name__}: {what}. This is likely a fault "
            "of avsep; AVSEP_DEBUG=1 shows where it happened.",
            file=sys.stderr,
        )
        return 1


def _module(name: str):
    return importlib.import_module(f"espnet2_avsep.{name}")


if __name__ == "__main__":
    sys.exit(main())
