"""The options that all local/prepare_<corpus>.py share."""

import argparse
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional

from espnet2_avsep.cli.options import Log, get_parser, make_main, option
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


@dataclass(kw_only=True)
class CorpusOptions(Log):
    """The options that every corpus has; that of the folder is --<corpus>_dir."""

    corpus_dir: str = option(..., "the folder")
    splits: Optional[str] = option(None, "folder of lists of the sets")
    split_rule: Optional[str] = option(
        None, "draw the sets by this rule instead", choices=("hash",)
    )
    valid_ratio: float = option(0.1, "share of valid", least=0, most=1)
    test_ratio: float = option(0.2, "share of test", least=0, most=1)
    overlap: str = option(
        "error",
        "a clip that is in several lists: an error; taken out of training; or kept in "
        "both, as published",
        choices=("error", "train", "keep"),
    )
    max_missing: float = option(
        0.5, "largest share of the listed clips that may be missing", least=0, most=1
    )
    frame_count: str = option(
        "check",
        "whether a folder of frames must hold as many images as its CSV list says",
        choices=("check", "ignore"),
    )
    train_set: str = option("train", "name of the training set")
    valid_set: str = option("valid", "name of the validation set")
    test_sets: str = option("test", "names of the test sets")
    real_sets: str = option(
        "", "name of a set of duets, real mixtures that have no references"
    )
    data_dir: str = option("data", "where the sets go", output=True)

    @property
    def checks_count(self) -> bool:
        """Whether the number of images in a folder is checked."""
        return self.frame_count == "check"


def corpus_parser(
    corpus: str, description: str, options: type = CorpusOptions
) -> argparse.ArgumentParser:
    """Return the parser of local/prepare_<corpus>.py.

    Args:
        corpus: Its name; the folder's option is --<corpus>_dir.
        description: What layouts it comes in.
        options: CorpusOptions, or a subclass with more of them.
    """
    text, names = f"{description}\n{SPLITS}", {"corpus_dir": f"{corpus}_dir"}
    return get_parser(options, f"prepare_{corpus}.py", text, names=names)


def corpus_command(
    corpus: str, options: type = CorpusOptions, description: str = ""
) -> Callable:
    """Decorate ``main(args: options, folder: Path) -> Corpus``, which reads a corpus.

    The result, main(argv=None) -> status, also writes data/<set>/.

    Args:
        corpus: Its name, that of local/prepare_<corpus>.py.
        options: CorpusOptions, or a subclass with more of them.
        description: What layouts it comes in (default: the docstring of the module).
    """

    def decorate(read: Callable) -> Callable:
        def run(args: CorpusOptions) -> None:
            from espnet2_avsep.corpus.prepare import prepare

            folder = corpus_folder(args)
            plan = plan_of(args, getattr(args, "videos", "listed"))
            prepare(read(args, folder), plan)

        text = description or read.__globals__["__doc__"]
        make = functools.partial(corpus_parser, corpus, text, options)
        return make_main(functools.update_wrapper(run, read), options, make)

    return decorate


def corpus_folder(args: CorpusOptions) -> Path:
    """Return the folder of the corpus.

    Raises:
        InputError: it is not there.
    """
    folder = Path(os.path.abspath(args.corpus_dir))
    if not folder.is_dir():
        raise InputError(f"{args.corpus_dir}: no such folder; the corpus was expected.")
    return folder


def plan_of(args: CorpusOptions, videos: str = "listed") -> "Plan":
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
