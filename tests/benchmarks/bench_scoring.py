#!/usr/bin/env python3
"""Scoring: one batch of bss_eval, against a loop over mir_eval.

Makes mixtures of two sources of 65,280 samples with imperfect estimates, and scores the
estimates and the mixture itself as an estimate of every source, in turn with

  ours      espnet2_avsep.metrics.bss_eval on batches
  mir_eval  mir_eval.separation.bss_eval_sources(compute_permutation=False), one call
            for the estimates and one for the mixture, as peers do

Medians of interleaved rounds, and the greatest difference in dB. The SAR of a mixture,
which is the sum of its references, measures rounding errors alone and is shown apart.
"""

import argparse
import ctypes
import os
import statistics
import sys
import time
from typing import Optional, Sequence, Tuple

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
GOAL_RATIO = 5
GOAL_DECIBEL = 1e-6


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take medians")
    parser.add_argument("--mixtures", type=int, default=8, help="mixtures a round")
    parser.add_argument("--batch_size", type=int, default=8, help="of ours")
    parser.add_argument("--num_sources", type=int, default=2)
    parser.add_argument("--num_samples", type=int, default=65280)
    parser.add_argument("--threads", type=int, default=1, help="of both")
    parser.add_argument(
        "--malloc",
        choices=("default", "keep"),
        default="default",
        help="keep: mallopt(M_MMAP_MAX=0, M_TRIM_THRESHOLD=2^31-1), for both",
    )
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
    # Before numpy and torch are imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    if args.malloc == "keep":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    import mir_eval
    import torch

    from espnet2_avsep.metrics.bss_eval import bss_eval, bss_eval_by_mir_eval

    torch.set_num_threads(args.threads)
    arrays = make_signals(args.mixtures, args.num_sources, args.num_samples)
    references, signals = map(torch.from_numpy, arrays)
    sources = range(args.num_sources)
    pairs = [(n, n) for n in sources] + [(args.num_sources, n) for n in sources]

    def ours() -> torch.Tensor:
        batches = [
            bss_eval(r, s, pairs)
            for r, s in zip(
                references.split(args.batch_size),
                signals.split(args.batch_size),
                strict=True,
            )
        ]
        return torch.cat([torch.stack(batch[:3]) for batch in batches], dim=1)

    def counterpart() -> torch.Tensor:
        return torch.stack(bss_eval_by_mir_eval(references, signals, pairs)[:3])

    seconds = {"ours": [], "mir_eval": []}
    for number in range(args.rounds + 1):  # the first does not count
        for name, function in (("ours", ours), ("mir_eval", counterpart)):
            begin = time.perf_counter()
            scores = function()
            if number:
                seconds[name].append((time.perf_counter() - begin) / args.mixtures)
            if name == "ours":
                found = scores
    difference = (found - scores).abs().amax(1)  # (SDR SIR SAR, pairs)
    ordinary = difference.clone()
    ordinary[2, args.num_sources :] = 0

    print(
        f"{os.cpu_count()} cores, {args.threads} thread(s), malloc: {args.malloc}, "
        f"torch {torch.__version__}, mir_eval {mir_eval.__version__}; {args.mixtures} "
        f"mixtures of {args.num_sources} x {args.num_samples} samples, batches of "
        f"{args.batch_size}, medians of {args.rounds} interleaved rounds"
    )
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(
            f"  {name:9s}{median[name] * 1e3:8.1f} ms a mixture with its estimates   "
            f"({min(values) * 1e3:.1f} to {max(values) * 1e3:.1f})   "
            f"ours is {median[name] / median['ours']:.1f}x"
        )
    print(
        f"greatest difference: {ordinary.max():.1e} dB; SAR of mixtures "
        f"({found[2, :, args.num_sources :].mean():.0f} dB): "
        f"{difference[2, args.num_sources :].max():.1e} dB"
    )
    ratio = median["mir_eval"] / median["ours"]
    print(
        f"goals: {ratio:.1f}x of at least {GOAL_RATIO}x; {ordinary.max():.1e} of at "
        f"most {GOAL_DECIBEL:.0e} dB"
    )
    return int(ratio < GOAL_RATIO or not ordinary.max() <= GOAL_DECIBEL)


if __name__ == "__main__":
    sys.exit(main())
