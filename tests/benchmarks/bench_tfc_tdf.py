#!/usr/bin/env python3
"""What TFC-TDF costs beside an HFRA of as many parameters: one table.

The forms of TFC-TDF are the shipped configuration, the same with presence, and the same
without competition, profile and absent queries. HFRA is that of
train_avsep_mini.yaml or train_avsep_hfra.yaml, without its teacher, with the number of
channels whose number of parameters is nearest. All have random weights and one
precision. A training step is all of it, from the waveforms to the optimizer, of
--batch_size mixtures of the configuration's length, with its absent queries. Separation
is that of one recording of --seconds with two queries, from waveform to waveforms;
GFLOP are those of its forward pass. Each form is timed in turn with HFRA, in CPU
seconds, which other jobs on the machine change less than they change elapsed ones. Peak
memory is that of a fresh process which does it twice, less what it had before the model
was built.

    python tests/benchmarks/bench_tfc_tdf.py --threads 1
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.bench_systems import batch_of, load  # noqa: E402
from tests.benchmarks.common import (  # noqa: E402
    build_parser,
    circumstances,
    compare,
    peak_of_fresh_process,
    prepare,
    resident,
)

HFRA = "HFRA of as many parameters"
FORMS: Dict[str, Dict[str, Any]] = {
    "TFC-TDF, as shipped": {},
    "with presence": {"presence": 32},
    "without competition, profile and absent queries": {
        "competition": False,
        "competition_dropout": 0.0,
        "profile": 0,
    },
}
PLAIN = list(FORMS)[-1]
# Size -> configurations of TFC-TDF and of HFRA.
SIZES = {"small": ("tfc_tdf_small", "mini"), "full": ("tfc_tdf", "hfra")}
COLUMNS = (
    *("system", "parameters", "GFLOP", "training step", "its peak", "separation"),
    *("its peak", "step / HFRA's", "separation / HFRA's"),
)


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the recording")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32"
    )
    parser.add_argument(
        "--peak_of", nargs=2, help="a form, step or separation: only this peak"
    )
    return parser


def config_of(form: str, size: str) -> argparse.Namespace:
    """Return the configuration of a form."""
    ours, theirs = (load(system) for system in SIZES[size])
    if form == HFRA:
        theirs.separator_conf["channels"] = equal_channels(ours, theirs)
        theirs.dataset_conf["segment_samples"] = ours.dataset_conf["segment_samples"]
        return theirs
    ours.separator_conf.update(FORMS[form])
    if ours.separator_conf.get("presence"):
        ours.criterions = [*ours.criterions, {"name": "presence_bce", "weight": 0.1}]
    if form == PLAIN:
        ours.dataset_conf["absent_queries"] = 0
    return ours


def equal_channels(ours: argparse.Namespace, theirs: argparse.Namespace) -> int:
    """Return the channels with which HFRA has as many parameters as TFC-TDF."""
    import torch

    from espnet2_avsep.tasks.parts import separator_without_weights

    def size(config: argparse.Namespace) -> int:
        return sum(p.numel() for p in separator_without_weights(config).parameters())

    def distance(channels: int) -> int:
        theirs.separator_conf["channels"] = channels
        return abs(size(theirs) - target)

    with torch.device("meta"):
        target = size(ours)
        return min(range(4, 65), key=distance)


def ways_of(
    form: str, args: argparse.Namespace
) -> Tuple[Callable[[], Any], Callable[[], Any], Any]:
    """Return a training step, the separation of a recording, and the model."""
    import torch

    from espnet2_avsep.tasks.choices import build_model

    config = config_of(form, args.size)
    config.model_conf["precision"] = args.precision
    torch.manual_seed(0)
    model = build_model(config, with_teacher=False)
    data = config.dataset_conf
    sources = data["num_sources"]
    queries = sources + data.get("absent_queries", 0)
    batch = batch_of(config, args.batch_size, queries)
    for n in range(sources + 1, queries + 1):
        batch[f"speech_ref{n}"].zero_()
    data["segment_samples"] = round(args.seconds * config.sample_rate)
    clip = batch_of(config, 1, num_sources=2)
    visual, _ = model.source_inputs(clip)
    mixture = clip["speech_ref1"] + clip["speech_ref2"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def train() -> None:
        loss, _, _ = model.train()(**batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def separate() -> None:
        model.eval()
        with torch.inference_mode():
            model.separate(mixture, visual)

    return train, separate, model


def print_peak(args: argparse.Namespace) -> int:
    """Print the peak of two calls in MiB, less what was there before the model."""
    import torch

    torch.set_num_threads(args.threads)
    import espnet2_avsep.tasks.choices  # noqa: F401

    before = resident("VmRSS")
    train, separate, _ = ways_of(args.peak_of[0], args)
    way = {"separation": separate, "step": train}[args.peak_of[1]]
    way()
    way()
    print(resident("VmHWM") - before)
    return 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark."""
    args = get_parser().parse_args(argv)
    prepare(args)
    if args.peak_of:
        return print_peak(args)
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(args.threads)
    print(circumstances(args))
    print(f"size {args.size}, {args.precision}, batch {args.batch_size}\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    first = ways_of(HFRA, args)
    given = ["--threads", str(args.threads), "--size", args.size]
    given += ["--batch_size", str(args.batch_size), "--seconds", str(args.seconds)]
    given += ["--precision", args.precision, "--malloc", args.malloc]
    for form in (HFRA, *FORMS):
        train, separate, model = ways_of(form, args)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            separate()
        ways = {"step": train, "separation": separate}
        ways.update({"first step": first[0], "first separation": first[1]})
        median, _ = compare(ways, args.rounds, time.process_time)
        this = str(Path(__file__).resolve())
        peaks = [
            peak_of_fresh_process(this, "--peak_of", form, way, *given)
            for way in ("separation", "step")
        ]
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        print(
            f"| {form} | {millions:.2f} M | {counter.get_total_flops() / 1e9:.1f} | "
            f"{median['step']:.3f} s | {peaks[1]:,.0f} MiB | "
            f"{median['separation']:.3f} s | {peaks[0]:,.0f} MiB | "
            f"{median['step'] / median['first step']:.2f}x | "
            f"{median['separation'] / median['first separation']:.2f}x |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
