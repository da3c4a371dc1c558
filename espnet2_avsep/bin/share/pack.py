#!/usr/bin/env python3
"""Pack a trained model into one file (stage 9)."""

import argparse
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Pack a trained model: its config, the separator's weights as "
        ".pth and .safetensors, what made its embeddings (names and checksums, not the "
        "networks), and RESULTS.md. The archive is one of 'espnet2.bin.pack enh'.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--avsep_exp", required=True, help="folder of the experiment, exp/avsep_<tag>"
    )
    parser.add_argument(
        "--inference_model",
        help="weights to pack, within --avsep_exp (None: "
        "valid.si_sdr_i.best.pth, or valid.loss.best.pth)",
    )
    parser.add_argument(
        "--results", help="RESULTS.md (default: that of --avsep_exp, if there is one)"
    )
    parser.add_argument("--outpath", required=True, help="the zip file to write")
    parser.add_argument("--log_level", default="INFO", help="verbosity of the log")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.sharing.pack import pack

    pack(args.avsep_exp, args.outpath, args.inference_model, args.results)
    print(args.outpath)


if __name__ == "__main__":
    sys.exit(main())
