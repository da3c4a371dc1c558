"""The options that all local/prepare_<corpus>.py share."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    from espnet2_avsep.corpus.prepare import Plan

SPLITS = """\
Which clip goes into which set is said by, in this order:

* --split_rule hash: SHA-256 of the video id, read as a number in [0, 1): below
  --test_ratio test, below --test_ratio + --valid_ratio valid, else train;
* --splits: a folder of lists, <set>.txt with rows category/id (or only ids), or
  <set>.csv of other implementations with rows audio,frames,n_frames; also by usual
  names (val, testSet, ...);
* the lists in <corpus>/splits, if it exists;
* the corpus' own lists;
* the rule.

Where there are lists for training and test but none for validation, it is drawn out of
the training list, by the rule, with --valid_ratio.
"""


def corpus_parser(corpus: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every corpus has.

    Args:
        corpus: Its name; the folder's option is --<corpus>_dir.
        description: What layouts it comes in.
    """
    parser = argparse.ArgumentParser(
        description=f"{description}\n{SPLITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(f"--{corpus}_dir", dest="corpus_dir", required=True, help="the folder")
    add("--splits", help="folder of lists of the sets")
    add("--split_rule", choices=("hash",), help="draw the sets by this rule instead")
    add("--valid_ratio", type=float, default=0.1, help="share of valid (default: 0.1)")
    add("--test_ratio", type=float, default=0.2, help="share of test (default: 0.2)")
    add(
        "--overlap",
        choices=("error", "train", "keep"),
        default="error",
        help="a clip that is in several lists: an error; taken out of training; or "
        "kept in both, as published (default: error)",
    )
    add(
        "--max_missing",
        type=float,
        default=0.5,
        help="largest share of the listed clips that may be missing (default: 0.5)",
    )
    add(
        "--frame_count",
        choices=("check", "ignore"),
        default="check",
        help="whether a folder of frames must hold as many images as its CSV list says "
        "(default: check)",
    )
    add("--train_set", default="train", help="name of the training set")
    add("--valid_set", default="valid", help="name of the validation set")
    add("--test_sets", default="test", help="names of the test sets")
    add(
        "--real_sets",
        default="",
        help="name of a set of duets, real mixtures that have no references",
    )
    add("--data_dir", default="data", help="where the sets go (default: data)")
    add("--log_level", default="INFO")
    return parser


def corpus_folder(args: argparse.Namespace) -> Path:
    """Return the folder of the corpus.

    Raises:
        InputError: it is not there.
    """
    folder = Path(os.path.abspath(args.corpus_dir))
    if not folder.is_dir():
        raise InputError(f"{args.corpus_dir}: no such folder; the corpus was expected.")
    return folder


def plan_of(args: argparse.Namespace, videos: str = "listed") -> "Plan":
    """Return what is to be made of the corpus.

    Raises:
        InputError: names of sets, or options, that contradict one another.
    """
    import logging

    from espnet2_avsep.corpus.prepare import Plan
    from espnet2_avsep.corpus.splits import Rule, SetNames

    tests = args.test_sets.split()
    if not tests:
        raise InputError("--test_sets: at least one name was expected.")
    if args.train_set in (args.valid_set, *tests):
        raise InputError(f"--train_set {args.train_set}: is also valid or test.")
    if args.valid_set in tests:
        logging.warning("one set for validation and test: %s", args.valid_set)
    if args.splits and args.split_rule:
        raise InputError("--splits and --split_rule: give one of them.")
    real = args.real_sets.split()
    if len(real) > 1:
        raise InputError(f"--real_sets {args.real_sets}: one set was expected.")
    folder = args.splits
    if folder is None and args.split_rule is None:
        own = corpus_folder(args) / "splits"
        folder = own if own.is_dir() else None
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"--splits {folder}: no such folder.")
    return Plan(
        names=SetNames(args.train_set, args.valid_set, tuple(tests)),
        rule=Rule(
            folder=Path(folder) if folder is not None else None,
            hashed=args.split_rule == "hash",
            valid_ratio=args.valid_ratio,
            test_ratio=args.test_ratio,
            overlap=args.overlap,
        ),
        data_dir=Path(args.data_dir),
        max_missing=args.max_missing,
        real_set=real[0] if real else "",
        videos=videos,
    )
