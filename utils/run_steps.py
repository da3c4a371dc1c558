#!/usr/bin/env python3
r"""Run several commands of espnet2_avsep in one process, one after the other.

Usage: run_steps.py --step <command> [<argument> ...] [--step ...] ...
e.g.   run_steps.py --step avsep_filter_clips --data_dir data/valid ... \
           --step avsep_make_mixtures --output_dir dump/raw/valid ...

What they import is imported once. The first command that fails ends the process with
its exit status. "--step_if <file> <command> ..." leaves a command out if the file is
empty.
"""

import importlib
import os
import sys
from typing import List, NoReturn, Tuple

Step = Tuple[str, List[str]]


def die(message: str, status: int = 2) -> NoReturn:
    """End with a message."""
    print(f"run_steps.py: error: {message}", file=sys.stderr)
    sys.exit(status)


def parse(words: List[str]) -> List[Step]:
    """Split the command line into commands with their arguments; leave out the empty.

    Args:
        words: See the module's docstring.
    """
    steps: List[Step] = []
    starts = [n for n, word in enumerate(words) if word in ("--step", "--step_if")]
    if not starts or starts[0] != 0:
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        step = words[start + 1 : end]
        if words[start] == "--step_if" and step and not is_filled(step.pop(0)):
            continue
        if not step or not step[0].isidentifier():
            die(f"{' '.join(words[start:end])}: expected the name of a command")
        steps.append((step[0], step[1:]))
    return steps


def is_filled(path: str) -> bool:
    """Whether a file has a content."""
    try:
        return os.path.getsize(path) > 0
    except OSError as error:
        die(f"{path}: {error.strerror}")


def run(command: str, arguments: List[str]) -> int:
    """Run one command; return its exit status."""
    module = importlib.import_module(f"espnet2_avsep.bin.{command}")
    sys.argv = [module.__file__ or command, *arguments]
    try:
        return module.main(arguments) or 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def main() -> None:
    """Run all."""
    for command, arguments in parse(sys.argv[1:]):
        print(f"# {command} {' '.join(arguments)}", flush=True)
        status = run(command, arguments)
        if status != 0:
            die(f"{command} failed", status)


if __name__ == "__main__":
    main()
