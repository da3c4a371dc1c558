#!/usr/bin/env python3
"""Turn "spk utt1 utt2 ..." lines into "utt spk" lines.

Usage: spk2utt_to_utt2spk.pl [<spk2utt>] > <utt2spk>

Lines keep the order of the input; sort them with LC_ALL=C sort.
"""

import sys


def main() -> None:
    """Convert."""
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(__doc__.strip())
    try:
        path = sys.argv[1] if len(sys.argv) == 2 else "-"
        with sys.stdin.buffer if path == "-" else open(path, "rb") as f:
            for number, line in enumerate(f, 1):
                speaker, *names = line.split() or [b""]
                if not names:
                    sys.exit(
                        f"spk2utt_to_utt2spk.pl: error: {path}, line {number}: "
                        f"{line.decode(errors='replace')!r} is not 'spk utt1 utt2 ...'"
                    )
                for name in names:
                    sys.stdout.buffer.write(name + b" " + speaker + b"\n")
    except OSError as error:
        sys.exit(f"spk2utt_to_utt2spk.pl: error: {path}: {error.strerror}")


if __name__ == "__main__":
    main()
