"""What local/prepare_music.py and local/prepare_music21.py do."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from espnet2_avsep.cli.corpus_options import CorpusOptions, corpus_command
from espnet2_avsep.cli.options import option

if TYPE_CHECKING:
    from espnet2_avsep.corpus.clip import Corpus

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


@dataclass(kw_only=True)
class MusicOptions(CorpusOptions):
    """The options of both commands."""

    layout: str = option(
        "auto",
        "how the folder is laid out",
        choices=("auto", "json", "csv", "files"),
    )
    videos: str = option(
        "listed",
        "what the sets hold: lists as they are, and solos where the rule draws; or "
        "only solos, duets or all",
        choices=("listed", "solo", "duet", "all"),
    )


def music_command(corpus: str, name: str) -> Callable:
    """Return main(argv=None) -> status of local/prepare_<corpus>.py.

    Args:
        corpus: "music" or "music21".
        name: As papers write it.
    """
    prefix = corpus.upper()
    description = DESCRIPTION.format(name=name, prefix=prefix)

    @corpus_command(corpus, MusicOptions, description)
    def main(args: MusicOptions, folder: Path) -> "Corpus":
        from espnet2_avsep.corpus.music import read_music

        return read_music(
            folder,
            solo_json=f"{prefix}_solo_videos.json",
            duet_json=f"{prefix}_duet_videos.json",
            layout=args.layout,
            check_count=args.checks_count,
        )

    return main
