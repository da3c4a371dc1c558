"""Find clips of valid and test sets that are trained on (stage 4).

Finds videos that are in two sets or in two classes, and clips whose sound is nearly
that of a clip of an earlier set (by fingerprints: other codecs, levels and first
samples do not hide it). Writes a table of all cases, which stage 8 can leave out of the
scores. Fingerprints are kept, so that a run that was cut off continues.
"""

from dataclasses import dataclass
from typing import List

from espnet2_avsep.cli.options import Log, option, with_options

FORM = "NAME:DATADIR:CLIPSDIR"


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    train_set: str = option(
        ...,
        "name, data/<set> (utt2video), and the folder of its clips (wav.scp, utt2spk)",
        metavar=FORM,
    )
    valid_set: List[str] = option(
        [], "the same of the validation set", repeat=True, metavar=FORM
    )
    test_set: List[str] = option(
        [], "the same of a test set; repeat", repeat=True, metavar=FORM
    )
    output: str = option(..., "leaks.tsv")
    cache_dir: str = option(..., "folder that keeps the fingerprints", output=True)
    audio: bool = option(True, "false: compare the videos' names only")
    strict: bool = option(False, "true: what leaks is an error, after all is written")
    nj: int = option(1, "processes", least=1)


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    from espnet2_avsep.corpus.leaks.check import check_leaks
    from espnet2_avsep.corpus.leaks.clip_set import ClipSet
    from espnet2_avsep.scoring.results import parse_set

    def read(text: str) -> ClipSet:
        return ClipSet.read(*parse_set(text, FORM.split(":")))

    check_leaks(
        read(args.train_set),
        [read(text) for text in args.valid_set],
        [read(text) for text in args.test_set],
        args.output,
        args.cache_dir,
        args.audio,
        args.strict,
        args.nj,
    )
