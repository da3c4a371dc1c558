#!/usr/bin/env python3
"""Turn a folder of AVE into data/<set>/.

Layouts of the folder:

* Annotations.txt, trainSet.txt, valSet.txt and testSet.txt, here or in AVE_Dataset/,
  and videos <id>.mp4 anywhere below (AVE_Dataset/AVE/);
* audio/<category>/<id>.wav and frames/<category>/<id> with CSV lists (iQuery, DAVIS).

A video with events of several classes is a clip of each; clips are whole videos.
"""

import sys
from pathlib import Path

from espnet2_avsep.cli.corpus_options import CorpusOptions, corpus_command
from espnet2_avsep.corpus.ave import read_ave
from espnet2_avsep.corpus.clip import Corpus


@corpus_command("ave")
def main(args: CorpusOptions, folder: Path) -> Corpus:
    return read_ave(folder, args.checks_count)


if __name__ == "__main__":
    sys.exit(main())
