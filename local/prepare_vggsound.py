#!/usr/bin/env python3
"""Turn a folder of VGGSound into data/<set>/.

Layouts of the folder:

* vggsound.csv (rows id,start,label,train or test; --list if it lies elsewhere) and
  videos <id>_<start, six digits>.mp4 anywhere below; <id>.mp4 (of a video with one
  section in the list) and audio/ with frames/ are taken too;
* the archives vggsound_NN.tar.gz of the mirror on the Hugging Face hub, whose videos
  are extracted to --extract_dir (about as large as the archives);
* audio and frames with CSV lists whose fourth column is the label (CLIPSep).

vggsound.csv has no validation list: it is drawn out of training, by --valid_ratio.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from espnet2_avsep.cli.corpus_options import CorpusOptions, corpus_command
from espnet2_avsep.cli.options import option
from espnet2_avsep.corpus.clip import Corpus
from espnet2_avsep.corpus.vggsound import read_vggsound


@dataclass(kw_only=True)
class Options(CorpusOptions):
    """What VGGSound has besides."""

    list: Optional[Path] = option(None, "vggsound.csv (default: within the folder)")
    extract_dir: Optional[Path] = option(
        None, "where videos out of archives go", output=True
    )
    valid_ratio: float = option(0.02, "share of valid", least=0, most=1)


@corpus_command("vggsound", Options)
def main(args: Options, folder: Path) -> Corpus:
    return read_vggsound(folder, args.list, args.extract_dir, args.checks_count)


if __name__ == "__main__":
    sys.exit(main())
