#!/usr/bin/env python3
"""Turn a folder of VGGSound into data/<set>/.

Layouts of the folder:

* vggsound.csv (rows id,start,label,train or test; --list if it lies elsewhere) and
  videos <id>_<start, six digits>.mp4 anywhere below; <id>.mp4 and audio/ with frames/
  are taken too;
* the archives vggsound_NN.tar.gz of the mirror on the Hugging Face hub, whose videos
  are extracted to --extract_dir (about as large as the archives);
* audio and frames with CSV lists whose fourth column is the label (CLIPSep).

vggsound.csv has no validation list: it is drawn out of training, by --valid_ratio.
"""

import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.cli.corpus_options import corpus_folder, corpus_parser, plan_of


def get_parser():
    parser = corpus_parser("vggsound", __doc__)
    parser.add_argument("--list", help="vggsound.csv (default: within the folder)")
    parser.add_argument("--extract_dir", help="where videos out of archives go")
    parser.set_defaults(valid_ratio=0.02)
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.corpus.prepare import prepare
    from espnet2_avsep.corpus.vggsound import read_vggsound

    folder, plan = corpus_folder(args), plan_of(args)
    corpus = read_vggsound(
        folder,
        list_file=Path(args.list) if args.list else None,
        extract_dir=Path(args.extract_dir) if args.extract_dir else None,
        check_count=args.frame_count == "check",
    )
    prepare(corpus, plan)


if __name__ == "__main__":
    sys.exit(main())
