#!/usr/bin/env python3
"""Turn a folder of my_corpus, <class>/<id>.mp4, into data/<set>/.

Each file is a video of its own here, so that files may be numbered class by class.
Where several files are sections of one recording, name the recording in ``video``:
clips of one video are never in two sets that are drawn, and are never mixed with one
another.

For another layout, change the list of clips: one Clip for each, with its class, an id
that is unique within the class, the files of its sound and its picture, and its video.
A clip that is listed but missing or unusable is a Clip with a ``problem``: it is
counted, and named in data/<set>/skipped.tsv. Lists of the sets that come with a corpus
are given as ``Corpus.lists`` (espnet2_avsep/corpus/ave.py is an example).
"""

import sys
from pathlib import Path

from espnet2_avsep.cli.corpus_options import CorpusOptions, corpus_command
from espnet2_avsep.corpus.clip import Corpus
from espnet2_avsep.corpus.tree import find_clips


@corpus_command("my_corpus")
def main(args: CorpusOptions, folder: Path) -> Corpus:
    """Read the corpus, which is then split and written."""
    found = find_clips(folder, "*/*")
    clips = [clip._replace(video=f"{clip.category}-{clip.stem}") for clip in found]
    return Corpus("class/id.mp4", {clip.name: clip for clip in clips})


if __name__ == "__main__":
    sys.exit(main())
