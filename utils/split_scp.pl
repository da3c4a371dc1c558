#!/usr/bin/env python3
"""Split a table into pieces, in its order.

Usage: split_scp.pl [--utt2spk=<utt2spk>] <in> <out1> <out2> ...
   or: split_scp.pl -j <number-of-pieces> <piece> [--one-based] <in> [<out>]

Pieces differ in length by one line at most, the longer ones come first; with --utt2spk
no speaker is split over two pieces, and lengths are as even as that allows. The second
form writes one piece, counted from 0 or, with --one-based, from 1. "-" is stdin or
stdout. A table with fewer lines than pieces is refused.
"""

import sys
from typing import Dict, Iterator, List, NoReturn


def die(message: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"split_scp.pl: error: {message}")


def read_lines(path: str) -> List[bytes]:
    """Return the lines of a file, "-" for stdin."""
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as f:
            return [line.rstrip(b"\n") + b"\n" for line in f]
    except OSError as error:
        die(f"cannot read {path}: {error.strerror}")


def write_lines(path: str, lines: List[bytes]) -> None:
    """Write the lines of a piece."""
    try:
        if path == "-":
            sys.stdout.buffer.writelines(lines)
            sys.stdout.buffer.flush()
            return
        with open(path, "wb") as f:
            f.writelines(lines)
    except OSError as error:
        die(f"cannot write {path}: {error.strerror}")


def split_evenly(lines: List[bytes], pieces: int) -> Iterator[List[bytes]]:
    """Yield consecutive pieces whose lengths differ by one at most."""
    length, longer = divmod(len(lines), pieces)
    start = 0
    for i in range(pieces):
        end = start + length + (i < longer)
        yield lines[start:end]
        start = end


def split_by_speaker(
    lines: List[bytes], speaker_of: Dict[bytes, bytes], pieces: int
) -> Iterator[List[bytes]]:
    """Yield pieces that keep each speaker's lines together."""
    groups: Dict[bytes, List[bytes]] = {}
    for line in lines:
        utt = line.split()[0]
        if utt not in speaker_of:
            die(f"{utt.decode(errors='replace')} has no line in utt2spk")
        groups.setdefault(speaker_of[utt], []).append(line)
    if len(groups) < pieces:
        die(f"{len(groups)} speakers cannot be split into {pieces} pieces")
    left = list(groups.values())
    num_lines = len(lines)
    for i in range(pieces, 0, -1):
        piece: List[bytes] = []
        # Every later piece must find a speaker.
        while len(left) >= i:
            longer = len(piece) + len(left[0])
            if piece and abs(longer - num_lines / i) >= abs(len(piece) - num_lines / i):
                break
            piece += left.pop(0)
        if i == 1:
            for group in left:
                piece += group
        num_lines -= len(piece)
        yield piece


def main() -> None:
    """Split."""
    arguments = sys.argv[1:]
    utt2spk, job, one_based = None, None, False
    while arguments and arguments[0].startswith("-") and arguments[0] != "-":
        option = arguments.pop(0)
        if option in ("-h", "--help"):
            print(__doc__.strip())
            return
        if option.startswith("--utt2spk="):
            utt2spk = option.partition("=")[2]
        elif option == "--one-based":
            one_based = True
        elif option == "-j" and len(arguments) >= 2:
            try:
                job = [int(arguments.pop(0)), int(arguments.pop(0))]
            except ValueError:
                die("-j wants two whole numbers")
        else:
            die(f"unknown or incomplete option {option}")
    if job is None and len(arguments) < 2 or job and len(arguments) not in (1, 2):
        sys.exit(__doc__.strip())

    pieces, wanted = len(arguments) - 1, None
    if job is not None:
        pieces, wanted = job[0], job[1] - one_based
        if not 0 <= wanted < pieces:
            die(f"there is no piece {job[1]} of {job[0]}")
    lines = read_lines(arguments[0])
    if len(lines) < pieces:
        die(
            f"{arguments[0]}: {len(lines)} lines cannot be split into {pieces} pieces; "
            "use fewer jobs"
        )
    if utt2spk is None:
        parts = list(split_evenly(lines, pieces))
    else:
        speaker_of = {}
        for line in read_lines(utt2spk):
            fields = line.split()
            if len(fields) != 2:
                die(f"{utt2spk}: {line.decode(errors='replace')!r} is not 'utt spk'")
            speaker_of[fields[0]] = fields[1]
        parts = list(split_by_speaker(lines, speaker_of, pieces))
    if wanted is not None:
        write_lines(arguments[1] if len(arguments) == 2 else "-", parts[wanted])
        return
    for path, part in zip(arguments[1:], parts, strict=True):
        write_lines(path, part)


if __name__ == "__main__":
    main()
