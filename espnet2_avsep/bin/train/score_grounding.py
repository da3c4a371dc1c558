#!/usr/bin/env python3
"""Score a grounding network on sounding and silent pictures (stage 8)."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.data.tables.tsv import write_tsv
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.grounding_table import accuracy_lines
from espnet2_avsep.metrics.markdown import markdown_table
from espnet2_avsep.scoring.grounding import COLUMNS, TABLE, ground


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Ask a model with a grounding network (CCoL) which pictures sound. "
        "Of each mixture: every source by itself with its own picture, and with one of "
        "a class that is not in the mixture; and the mixture with each of these "
        f"pictures, those of silent sources included. Writes {TABLE}, a row a pair.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--train_config", required=True, help="config.yaml of training")
    add("--model_file", required=True, help="weights")
    add("--set_dir", required=True, help="folder of the set's mixtures (stage 4)")
    add("--output_dir", required=True, help=f"gets {TABLE}")
    add("--seed", type=int, default=0, help="of the draw of other pictures")
    add("--batch_size", type=int, default=8, help="mixtures at a time")
    add("--ngpu", type=int, default=0, choices=(0, 1), help="0: CPU, 1: GPU")
    add("--log_level", default="INFO", help="verbosity of the log")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    if args.batch_size < 1:
        raise InputError(f"--batch_size {args.batch_size}: expected at least 1.")
    output = Path(args.output_dir) / TABLE
    output.unlink(missing_ok=True)
    pairs = ground(args)
    rows = [
        (p.mix_id, p.sound, p.source, int(p.sounds), f"{p.probability:.6f}")
        for p in pairs
    ]
    write_tsv(output, COLUMNS, rows)
    print(markdown_table(accuracy_lines(pairs)))
    logging.info("wrote %s", output)


if __name__ == "__main__":
    sys.exit(main())
