#!/usr/bin/env python3
"""Replace the fields of a table by what a map says.

Usage: apply_map.pl [-f <fields>] [--permissive] <map> < <in> > <out>

A line of the map is a key and its replacement, which may be several words or none.
<fields> counts from 1: "2", "2-4", "2-" or "-3" (default: all). A field that the map
does not have is an error or, with --permissive, stays as it is.
"""

import re
import sys
from typing import Dict, NoReturn


def die(message: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"apply_map.pl: error: {message}")


def main() -> None:
    """Apply the map."""
    arguments = sys.argv[1:]
    first, last, permissive = 1, sys.maxsize, False
    while arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option in ("-h", "--help"):
            print(__doc__.strip())
            return
        if option == "--permissive":
            permissive = True
        elif option == "-f" and arguments:
            wanted = arguments.pop(0)
            match = re.fullmatch(r"(\d*)(-?)(\d*)", wanted)
            if not match or not (match[1] or match[3]):
                die(f"-f {wanted}: expected a field or a range such as 2, 2-4, 2-, -3")
            first = int(match[1] or 1)
            last = int(match[3] or sys.maxsize) if match[2] else first
            if not 1 <= first <= last:
                die(f"-f {wanted}: fields count from 1, and a range goes upwards")
        else:
            die(f"unknown or incomplete option {option}")
    if len(arguments) != 1:
        sys.exit(__doc__.strip())

    table: Dict[bytes, bytes] = {}
    try:
        with open(arguments[0], "rb") as f:
            for line in f:
                fields = line.split(None, 1)
                if not fields:
                    die(f"{arguments[0]}: has an empty line")
                table[fields[0]] = fields[1].strip() if len(fields) == 2 else b""
    except OSError as error:
        die(f"cannot read {arguments[0]}: {error.strerror}")
    for line in sys.stdin.buffer:
        fields = line.split()
        for i in range(first - 1, min(last, len(fields))):
            if fields[i] in table:
                fields[i] = table[fields[i]]
            elif not permissive:
                die(
                    f"{fields[i].decode(errors='replace')} is not in {arguments[0]}; "
                    "--permissive would leave it as it is"
                )
        sys.stdout.buffer.write(b" ".join(fields) + b"\n")


if __name__ == "__main__":
    main()
