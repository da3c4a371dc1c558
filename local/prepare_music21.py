#!/usr/bin/env python3
"""Turn a folder of MUSIC-21, in one of its layouts, into data/<set>/; see --help."""

import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command
from espnet2_avsep.cli.music_corpus import prepare_music


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    prepare_music("music21", "MUSIC-21", argv)


if __name__ == "__main__":
    sys.exit(main())
