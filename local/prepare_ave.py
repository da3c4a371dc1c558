#!/usr/bin/env python3
"""Turn a folder of AVE into data/<set>/.

Layouts of the folder:

* Annotations.txt, trainSet.txt, valSet.txt and testSet.txt, here or in AVE_Dataset/,
  and videos <id>.mp4 anywhere below (AVE_Dataset/AVE/);
* audio/<category>/<id>.wav and frames/<category>/<id> with CSV lists (iQuery, DAVIS).

A video with events of several classes is a clip of each; clips are whole videos.
"""

import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.cli.corpus_options import corpus_folder, corpus_parser, plan_of


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    args = corpus_parser("ave", __doc__).parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.corpus.ave import read_ave
    from espnet2_avsep.corpus.prepare import prepare

    folder, plan = corpus_folder(args), plan_of(args)
    prepare(read_ave(folder, args.frame_count == "check"), plan)


if __name__ == "__main__":
    sys.exit(main())
