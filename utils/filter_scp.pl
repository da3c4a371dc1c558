#!/usr/bin/env python3
"""Keep the lines of a table whose key is in a list.

Usage: filter_scp.pl [--exclude] [-f <field>] <list> [<table>] > <kept>

A list's line begins with a key; the table's key is its field <field>, counted from 1
(default: 1). --exclude keeps the lines whose key is not in the list. The table is read
from stdin where none is given. Lines are passed on unchanged, in the table's order.
"""

import contextlib
import sys
from typing import NoReturn


def die(message: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"filter_scp.pl: error: {message}")


def main() -> None:
    """Filter."""
    arguments = sys.argv[1:]
    exclude, field = False, 1
    while arguments and arguments[0].startswith("-") and arguments[0] != "-":
        option = arguments.pop(0)
        if option in ("-h", "--help"):
            print(__doc__.strip())
            return
        if option == "--exclude":
            exclude = True
        elif option == "-f" and arguments and arguments[0].isdigit():
            field = int(arguments.pop(0))
        else:
            die(f"unknown or incomplete option {option}")
    if len(arguments) not in (1, 2) or field < 1:
        sys.exit(__doc__.strip())
    try:
        with contextlib.ExitStack() as stack:
            keys = set()
            for line in stack.enter_context(open(arguments[0], "rb")):
                if fields := line.split():
                    keys.add(fields[0])
            table = sys.stdin.buffer
            if len(arguments) == 2 and arguments[1] != "-":
                table = stack.enter_context(open(arguments[1], "rb"))
            for number, line in enumerate(table, 1):
                fields = line.split()
                if len(fields) < field:
                    die(
                        f"line {number} of the table, "
                        f"{line.decode(errors='replace')!r}, has {len(fields)} fields; "
                        f"the key was to be field {field}"
                    )
                if (fields[field - 1] in keys) != exclude:
                    sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except OSError as error:
        die(f"{error.filename or 'stdout'}: {error.strerror}")


if __name__ == "__main__":
    main()
