"""What local/prepare_music.py and local/prepare_music21.py do."""

import argparse
from typing import Optional, Sequence

from espnet2_avsep.cli.command import setup_logging
from espnet2_avsep.cli.corpus_options import corpus_folder, corpus_parser, plan_of

DESCRIPTION = """\
Turn a folder of {name} into data/<set>/.

Layouts of the folder, of which the first that fits is taken (--layout chooses):

* json: videos/<category>/<id>.<any ending> and {prefix}_solo_videos.json, of the shape
  {{"videos": {{category: [id, ...]}}}}; also {prefix}_duet_videos.json, if it is there;
* csv: train.csv, val.csv, test.csv, ..., here or in metadata/, data/, solo/, with rows
  audio/<category>/<id>.wav,frames/<category>/<id>,n_frames, and the files they name.
  Paths of another machine are found by category and name. The trees of Sound-of-Pixels,
  CLIPSep, iQuery and HFRA are such;
* files: videos, or sounds and folders of frames, named <category>/<id>, without a list.
"""


def get_parser(corpus: str, name: str) -> argparse.ArgumentParser:
    """Return the command line.

    Args:
        corpus: "music" or "music21".
        name: As papers write it.
    """
    description = DESCRIPTION.format(name=name, prefix=corpus.upper())
    parser = corpus_parser(corpus, description)
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
        "or only solos, duets or all (default: listed)",
    )
    return parser


def prepare_music(corpus: str, name: str, argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser(corpus, name).parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.corpus.music import read_music
    from espnet2_avsep.corpus.prepare import prepare

    folder, plan = corpus_folder(args), plan_of(args, args.videos)
    found = read_music(
        folder,
        solo_json=f"{corpus.upper()}_solo_videos.json",
        duet_json=f"{corpus.upper()}_duet_videos.json",
        layout=args.layout,
        check_count=args.frame_count == "check",
    )
    prepare(found, plan)
