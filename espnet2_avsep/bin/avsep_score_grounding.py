#!/usr/bin/env python3
"""Score a grounding network on sounding and silent pictures (stage 8)."""

import argparse
import csv
import logging
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from espnet2_avsep.bin.cli import command, setup_logging
from espnet2_avsep.data.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.grounding_table import (
    MIXTURE,
    SOLO,
    GroundedPair,
    accuracy_lines,
    read_pairs,
)
from espnet2_avsep.metrics.markdown import markdown_table

TABLE = "grounding.tsv"
COLUMNS = ("mix_id", "sound", "source", "sounds", "probability")


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
    with atomic_write(output) as f:
        f.write("\t".join(COLUMNS) + "\n")
        for p in pairs:
            cells = (p.mix_id, p.sound, p.source, int(p.sounds), f"{p.probability:.6f}")
            f.write("\t".join(map(str, cells)) + "\n")
    print(markdown_table(accuracy_lines(pairs)))
    logging.info("wrote %s", output)


def ground(args: argparse.Namespace) -> List[GroundedPair]:
    """Ask about every mixture of the set."""
    import torch

    from espnet2_avsep.data.mixture_table import read_silent
    from espnet2_avsep.data.scp import read_scp
    from espnet2_avsep.data.segment_reader import read_matrix, read_segment
    from espnet2_avsep.data.visual_shuffle import shuffle_visual
    from espnet2_avsep.separate import SeparateAV

    separate = SeparateAV(
        args.train_config, args.model_file, device="cuda" if args.ngpu else "cpu"
    )
    if not separate.model.separator.grounds:
        raise InputError(
            f"{args.train_config}: the separator {separate.config.separator} has no "
            "grounding network."
        )
    folder = Path(args.set_dir)
    silent = read_silent(folder / "mixtures.tsv")
    numbers = range(1, len(next(iter(silent.values()))) + 1)
    sounds = [read_scp(folder / f"spk{n}.scp") for n in numbers]
    own: Dict[str, Dict[str, str]] = {
        f"visual_ref{n}": read_scp(folder / f"visual_spk{n}.scp") for n in numbers
    }
    others = shuffle_visual(own, folder / "mixtures.tsv", "class", args.seed)
    pairs: List[GroundedPair] = []
    keys = list(silent)
    for begin in range(0, len(keys), args.batch_size):
        batch = keys[begin : begin + args.batch_size]
        waves = torch.stack(
            [
                torch.stack([torch.as_tensor(read_segment(t[key])) for t in sounds])
                for key in batch
            ]
        )
        mixture = waves.sum(dim=1, keepdim=True)
        visual = torch.stack(
            [
                torch.stack(
                    [
                        torch.as_tensor(read_matrix(table[f"visual_ref{n}"][key]))
                        for table in (own, others)
                        for n in numbers
                    ]
                )
                for key in batch
            ]
        )
        found = separate.model.ground_each(
            torch.cat([mixture, waves], dim=1).to(separate.device),
            visual.to(separate.device),
        ).tolist()  # (B, 1 + N, 2 * N)
        for key, answers in zip(batch, found, strict=True):
            pairs += _pairs(key, silent[key], answers)
    return pairs


def _pairs(
    key: str, silent: Sequence[bool], answers: Sequence[Sequence[float]]
) -> List[GroundedPair]:
    """Return the pairs of a mixture, of probabilities [sound][picture]."""
    pairs = []
    for n, is_silent in enumerate(silent):
        pairs.append(GroundedPair(key, MIXTURE, n + 1, not is_silent, answers[0][n]))
        if is_silent:
            continue
        other = n + len(silent)
        pairs.append(GroundedPair(key, MIXTURE, n + 1, False, answers[0][other]))
        pairs.append(GroundedPair(key, SOLO, n + 1, True, answers[n + 1][n]))
        pairs.append(GroundedPair(key, SOLO, n + 1, False, answers[n + 1][other]))
    return pairs


def read_table(path: PathLike) -> List[GroundedPair]:
    """Read the table that this command writes.

    Raises:
        InputError: it is no such table.
    """
    with Path(path).open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    try:
        return read_pairs(rows)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error!r}); expected the columns "
            f"{', '.join(COLUMNS)}. Run stage 8 again."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
