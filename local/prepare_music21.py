#!/usr/bin/env python3
"""Turn a folder of MUSIC-21, in one of its layouts, into data/<set>/; see --help."""

import sys

from espnet2_avsep.cli.music_corpus import music_command

main = music_command("music21", "MUSIC-21")

if __name__ == "__main__":
    sys.exit(main())
