#!/usr/bin/env python3
"""Turn a folder of my_corpus, <class>/<id>.mp4, into data/<set>/.

For another layout, change the list of clips: one Clip for each, with its class, an id
that is unique within the class, and the files of its sound and its picture. A clip that
is listed but missing or unusable is a Clip with a ``problem``: it is counted, and named
in data/<set>/skipped.tsv. Lists of the sets that come with a corpus are given as
``Corpus.lists`` (espnet2_avsep/corpus/ave.py is an example).
"""

import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.cli.corpus_options import corpus_folder, corpus_parser, plan_of
from espnet2_avsep.errors import InputError


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = corpus_parser("my_corpus", __doc__).parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.corpus.clip import Clip, Corpus
    from espnet2_avsep.corpus.prepare import prepare

    folder = corpus_folder(args)
    clips = [
        Clip(path.parent.name, path.stem, sound=str(path), picture=str(path))
        for path in sorted(folder.glob("*/*.mp4"))
    ]
    if not clips:
        raise InputError(f"{folder}: holds no videos <class>/<id>.mp4.")
    corpus = Corpus("class/id.mp4", {clip.name: clip for clip in clips})
    prepare(corpus, plan_of(args))


if __name__ == "__main__":
    sys.exit(main())
