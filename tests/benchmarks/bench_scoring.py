#!/usr/bin/env python3
"""Scoring: one batch of bss_eval, against a loop over mir_eval.

Makes mixtures of two sources of 65,280 samples with imperfect estimates, and scores the
estimates and the mixture itself as an estimate of every source, in turn with

  ours      espnet2_avsep.metrics.bss_eval on batches
  mir_eval  mir_eval.separation.bss_eval_sources(compute_permutation=False), one call
            for the estimates and one for the mixture, as other implementations do

Medians of interleaved rounds, and the greatest difference in dB. The SAR of a mixture,
which is the sum of its references, measures only rounding errors and is shown
separately.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import (
    Row,
    build_parser,
    circumstances,
    compare,
    prepare,
    report,
)

GOAL_RATIO = 5
GOAL_DECIBEL = 1e-6


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__, threads=1)
    parser.add_argument("--mixtures", type=int, default=8, help="mixtures a round")
    parser.add_argument("--batch_size", type=int, default=8, help="of ours")
    parser.add_argument("--num_sources", type=int, default=2)
    parser.add_argument("--num_samples", type=int, default=65280)
    return parser


def make_signals(mixtures: int, num_sources: int, num_samples: int) -> Tuple:
    """Make references (B, N, L), and signals (B, N + 1, L): estimates and mixture.

    A reference is coloured noise over a few partials; an estimate holds its reference,
    a quarter of the others, a reflection and noise. All are rounded to float32.
    """
    import numpy as np
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)
    shape = (mixtures, num_sources, num_samples)
    time_axis = np.arange(num_samples)
    references = lfilter([1], [1, -1.6, 0.8], rng.standard_normal(shape)) * 0.01
    for pitch in rng.uniform(0.02, 0.3, (4, *shape[:2], 1)):
        references += 0.05 * np.sin(pitch * time_axis)
    references = references.astype(np.float32)
    mixture = references.sum(1, keepdims=True)
    estimates = 0.75 * references + 0.25 * mixture
    estimates[..., 40:] += 0.2 * estimates[..., :-40]
    estimates += 0.003 * rng.standard_normal(shape)
    signals = np.concatenate([estimates, mixture], axis=1).astype(np.float32)
    return references, signals


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import mir_eval
    import numpy as np

    from espnet2_avsep.metrics.bss_eval import bss_eval, bss_eval_by_mir_eval

    references, signals = make_signals(
        args.mixtures, args.num_sources, args.num_samples
    )
    sources = range(args.num_sources)
    pairs = [(n, n) for n in sources] + [(args.num_sources, n) for n in sources]

    def ours() -> np.ndarray:
        batches = [
            bss_eval(references[cut], signals[cut], pairs)
            for begin in range(0, args.mixtures, args.batch_size)
            for cut in [slice(begin, begin + args.batch_size)]
        ]
        return np.concatenate([np.stack(batch[:3]) for batch in batches], axis=1)

    def counterpart() -> np.ndarray:
        return np.stack(bss_eval_by_mir_eval(references, signals, pairs)[:3])

    ways = {"ours": ours, "mir_eval": counterpart}
    median, found = compare(ways, args.rounds)
    # (SDR SIR SAR, pairs)
    difference = np.abs(found["ours"] - found["mir_eval"]).max(1)
    ordinary = difference.copy()
    ordinary[2, args.num_sources :] = 0
    print(circumstances(args))
    print(
        f"{args.mixtures} mixtures of {args.num_sources} x {args.num_samples} samples, "
        f"batches of {args.batch_size}, mir_eval {mir_eval.__version__}; SAR of "
        f"mixtures ({found['ours'][2, :, args.num_sources :].mean():.0f} dB) differs "
        f"by {difference[2, args.num_sources :].max():.1e} dB"
    )
    scale = 1e3 / args.mixtures
    row = Row(
        f"SDR, SIR, SAR of estimates and mixture, {args.threads} thread(s)",
        median["ours"] * scale,
        median["mir_eval"] * scale,
        "ms a mixture",
        "mir_eval, a call a set",
        difference=f"{ordinary.max():.0e} dB",
        goal=GOAL_RATIO,
    )
    missed = report([row], args)
    return missed or int(not ordinary.max() <= GOAL_DECIBEL)


if __name__ == "__main__":
    sys.exit(main())
