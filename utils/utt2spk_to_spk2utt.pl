#!/usr/bin/env python3
"""Turn "utt spk" lines into "spk utt1 utt2 ..." lines.

Usage: utt2spk_to_spk2utt.pl [<utt2spk>] > <spk2utt>

Speakers and utterances keep the order in which they come first.
"""

import sys
from typing import Dict, List


def main() -> None:
    """Convert."""
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(__doc__.strip())
    utts: Dict[bytes, List[bytes]] = {}
    try:
        path = sys.argv[1] if len(sys.argv) == 2 else "-"
        with sys.stdin.buffer if path == "-" else open(path, "rb") as f:
            for number, line in enumerate(f, 1):
                fields = line.split()
                if len(fields) != 2:
                    sys.exit(
                        f"utt2spk_to_spk2utt.pl: error: {path}, line {number}: "
                        f"{line.decode(errors='replace')!r} is not 'utt spk'"
                    )
                utts.setdefault(fields[1], []).append(fields[0])
    except OSError as error:
        sys.exit(f"utt2spk_to_spk2utt.pl: error: {path}: {error.strerror}")
    for speaker, names in utts.items():
        sys.stdout.buffer.write(b" ".join([speaker, *names]) + b"\n")


if __name__ == "__main__":
    main()
