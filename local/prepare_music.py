#!/usr/bin/env python3
"""Turn a folder of MUSIC, in one of its layouts, into data/<set>/; see --help."""

import sys

from espnet2_avsep.cli.music_corpus import music_command

main = music_command("music", "MUSIC")

if __name__ == "__main__":
    sys.exit(main())
