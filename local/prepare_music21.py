#!/usr/bin/env python3
"""Turn a folder of MUSIC-21 into data/<set>/.

Layouts of the folder, of which the first that fits is taken (--layout chooses):

* json: videos/<category>/<id>.<any ending> and MUSIC21_solo_videos.json, of the shape
  {"videos": {category: [id, ...]}}; also MUSIC21_duet_videos.json, if it is there;
* csv: train.csv, val.csv, test.csv, ..., here or in metadata/, data/, solo/, with rows
  audio/<category>/<id>.wav,frames/<category>/<id>,n_frames, and the files they name.
  Paths of another machine are found by category and name. The trees of Sound-of-Pixels,
  CLIPSep, iQuery and HFRA are such;
* files: videos, or sounds and folders of frames, named <category>/<id>, without a list.
"""

import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.bin.cli import command, setup_logging
from espnet2_avsep.bin.corpus_options import corpus_folder, corpus_parser, plan_of

CORPUS = Path(__file__).stem.removeprefix("prepare_")
PREFIX = CORPUS.upper()


def get_parser():
    parser = corpus_parser(CORPUS, __doc__)
    parser.add_argument(
        "--layout",
        choices=("auto", "json", "csv", "files"),
        default="auto",
        help="how the folder is laid out (default: auto)",
    )
    parser.add_argument(
        "--videos",
        choices=("listed", "solo", "duet", "all"),
        default="listed",
        help="what the sets hold: lists as they are, and solos where the rule draws; "
        "or solos, duets, all alone (default: listed)",
    )
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.data.corpus.music import read_music
    from espnet2_avsep.data.corpus.prepare import prepare

    folder, plan = corpus_folder(args), plan_of(args, args.videos)
    corpus = read_music(
        folder,
        solo_json=f"{PREFIX}_solo_videos.json",
        duet_json=f"{PREFIX}_duet_videos.json",
        layout=args.layout,
        check_count=args.frame_count == "check",
    )
    prepare(corpus, plan)


if __name__ == "__main__":
    sys.exit(main())
