#!/usr/bin/env python3
"""Training and separation of ours, against the released structures in torch's modules.

The counterpart (plain_released.py) has the same weights and gets the same batch:
pictures, motion features, sound. A step is all of it: STFT, warp, frame network,
network, loss, backward pass and optimizer. "Difference" is that of the masks in
evaluation, before the first step. --clock cpu is for a machine with other jobs.

Separation (plain_separation.py) goes from the waveform of one mixture of two sources to
two waveforms, pictures' network included where there is one; embeddings are given. Its
"difference" is that of the waveforms, whose level is printed with it.
"""

import argparse
import copy
import itertools
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.bench_systems import batch_of, load  # noqa: E402
from tests.benchmarks.common import (  # noqa: E402
    Row,
    build_parser,
    circumstances,
    compare,
    prepare,
    report,
)

# The least ratio that is aimed at.
GOALS = {
    "clipsep_late_released": 3.0,
    "sound_of_pixels_released": 2.0,
    "iquery_released": 3.0,
    "dgfnet_released": 2.0,
}
# Of separation, mixture's waveform to waveforms.
SEPARATION_GOALS = {
    "hfra_released": 4.0,
    "clipsep_late_released": 3.0,
    "sound_of_pixels_released": None,
    "iquery_released": None,
    "dgfnet_released": None,
}
WORK = ("training", "separation")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    systems = list(SEPARATION_GOALS)
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems)
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    return parser


def step_of(system: str, batch_size: int, plain: bool) -> Tuple[Callable, Callable]:
    """Return a training step, and what returns the masks in evaluation.

    Args:
        system: conf/tuning/train_avsep_<system>.yaml.
        batch_size: Mixtures.
        plain: Whether the released structure computes it.
    """
    import torch

    from espnet2_avsep.tasks.choices import build_model
    from tests.benchmarks.plain_released import make_plain

    config = load(system)
    torch.manual_seed(0)
    model = build_model(config, with_teacher=False).train()
    if plain:
        make_plain(model)
    batch = batch_of(config, batch_size)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=1e-4, fused=not plain)

    def train() -> None:
        loss, _, _ = model(**batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def masks() -> "torch.Tensor":
        visual, conditions = model.source_inputs(batch)
        mixture = batch["speech_ref1"] + batch["speech_ref2"]
        mask = model.eval().separate(mixture, visual, **conditions)[1]
        model.train()
        return mask

    return train, masks


def timed_row(
    what: str,
    ours: Callable,
    plain: Callable,
    difference: str,
    goal: Optional[float],
    args: argparse.Namespace,
) -> Row:
    """Return a row of both, timed in turn."""
    ways = {"ours": ours, "plain": plain}
    median, _ = compare(ways, args.rounds, CLOCKS[args.clock])
    return Row(
        *(what, median["ours"], median["plain"], "s", "released structure, plain"),
        difference=difference,
        goal=goal,
    )


def compare_training(systems: Sequence[str], args: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for each system."""
    for system in systems:
        ours, our_masks = step_of(system, args.batch_size, plain=False)
        plain, their_masks = step_of(system, args.batch_size, plain=True)
        difference = (our_masks() - their_masks()).abs().max()
        what = f"training step, {system}, batch {args.batch_size}"
        words = f"masks: {difference:.0e}"
        yield timed_row(what, ours, plain, words, GOALS[system], args)


def separation_of(system: str) -> Tuple[Callable, Callable]:
    """Return our separation of a mixture, and the released program's, same weights."""
    import torch

    from espnet2_avsep.tasks.choices import build_model
    from tests.benchmarks.plain_separation import make_plain_network, plain_separation

    config = load(system)
    torch.manual_seed(0)
    model = build_model(config, with_teacher=False).eval()
    plain = copy.deepcopy(model)
    make_plain_network(plain)
    batch = batch_of(config, 1, num_sources=2)
    visual, conditions = model.source_inputs(batch)
    mixture = batch["speech_ref1"] + batch["speech_ref2"]

    @torch.inference_mode()
    def ours() -> "torch.Tensor":
        return model.separate(mixture, visual, **conditions)[0][0]

    return ours, plain_separation(plain, mixture, visual, conditions)


def compare_separation(
    systems: Sequence[str], args: argparse.Namespace
) -> Iterator[Row]:
    """Yield a row for each system."""
    for system in systems:
        ours, plain = separation_of(system)
        reference = plain()
        difference = (ours() - reference).abs().max()
        words = f"waves: {difference:.0e} of {reference.square().mean().sqrt():.2f}"
        goal = SEPARATION_GOALS[system]
        what = f"separation, {system}, 1 mixture"
        yield timed_row(what, ours, plain, words, goal, args)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import torch

    torch.set_num_threads(args.threads)
    print(f"{circumstances(args)}; {args.clock} time")
    rows: Iterator[Row] = iter(())
    if "training" in args.work:
        rows = compare_training([s for s in args.systems if s in GOALS], args)
    if "separation" in args.work:
        rows = itertools.chain(rows, compare_separation(args.systems, args))
    return report(rows, args)


if __name__ == "__main__":
    sys.exit(main())
