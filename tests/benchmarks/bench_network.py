#!/usr/bin/env python3
"""Training step and inference, against the same equations written plainly.

The counterpart (reference_network.py) runs the whole network once per source, scales
maps up before it convolves them, and takes the late inner product as a step of its own.
Both have the same weights and are timed in turn in one process. A training step is all
of it: STFT, warp, network, spectrogram loss (eq. 4), backward pass, clipping of the
gradient and Adam (ours fused); inference goes from the mixture's spectrogram to the
masks. Peak memory is that of a fresh process of two steps, less what it had before the
model was built. Differences are those of the masks in evaluation.

The rows in bfloat16 have the counterpart in bfloat16, and once in float32.
"""

import argparse
import copy
import sys
from pathlib import Path
from typing import List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import (
    Row,
    build_parser,
    circumstances,
    compare,
    peak_of_fresh_process,
    prepare,
    report,
    resident,
)

SEGMENT = 65280
KINDS = ("ours", "counterpart")
SIZES = ("threads", "malloc", "channels", "num_sources")
AGAINST = "one plain pass per source"


def get_parser():
    """Build the command line's parser."""
    parser = build_parser(__doc__)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--num_sources", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="of our training step")
    parser.add_argument(
        "--peak_of", nargs=3, help="kind, step, precision: only this process' peak"
    )
    return parser


def build(args, kind: str, precision: str):
    """Build the ESPnet model of the paper's equation 5, without the teacher."""
    import torch
    from espnet2.enh.decoder.stft_decoder import STFTDecoder
    from espnet2.enh.encoder.stft_encoder import STFTEncoder

    from espnet2_avsep.loss.spectrogram_l1 import SpectrogramL1
    from espnet2_avsep.model.espnet_model import (
        ESPnetAVSeparationModel,
        WeightedCriterion,
    )
    from espnet2_avsep.separator.hfra_separator import HFRASeparator
    from espnet2_avsep.visual.adapter import MeanAdapter
    from tests.benchmarks.reference_network import PlainHFRASeparator

    torch.manual_seed(0)
    separator = HFRASeparator(channels=args.channels)
    if kind == "counterpart":
        separator = PlainHFRASeparator(copy.deepcopy(separator))
    stft = {"n_fft": 1024, "hop_length": 256, "default_fs": 11625}
    return ESPnetAVSeparationModel(
        STFTEncoder(**stft),
        STFTDecoder(**stft),
        MeanAdapter(),
        separator,
        [WeightedCriterion("spectrogram_l1", SpectrogramL1(), 1.0)],
        precision=precision,
    )


def step_of(args, kind: str, step: str, precision: str, batch_size: int):
    """Return a function that makes one step, and the model."""
    import torch

    model = build(args, kind, precision)
    generator = torch.Generator().manual_seed(0)
    if step == "inference":
        model.eval()
        feature = torch.randn(batch_size, 1, 256, 256, generator=generator)
        visual = torch.randn(batch_size, args.num_sources, 512, generator=generator)

        def infer():
            dtype = getattr(torch, precision)
            with (
                torch.inference_mode(),
                torch.autocast("cpu", dtype, enabled=precision != "float32"),
            ):
                return model.separator(feature, visual)[0].float().sigmoid()

        return infer, model

    batch = {}
    for n in range(1, args.num_sources + 1):
        wav = torch.randn(batch_size, SEGMENT, generator=generator)
        batch[f"speech_ref{n}"] = 0.1 * wav
        batch[f"visual_ref{n}"] = torch.randn(batch_size, 1, 512, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=kind == "ours")

    def train():
        loss, _, _ = model(**batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train, model


def measure(args, step: str, precision: str, batch_size: int, goals: Sequence) -> List:
    """Time both; rows against the counterpart in this precision and in float32."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    ways, flops = {}, {}
    for kind in KINDS:
        ways[kind], _ = step_of(args, kind, step, precision, batch_size)
    if precision != "float32":
        ways["float32"], _ = step_of(args, "counterpart", step, "float32", batch_size)
    median, _ = compare(ways, args.rounds)
    with torch.no_grad():
        masks = [
            step_of(args, kind, "inference", precision, batch_size)[0]()
            for kind in KINDS
        ]
    difference = f"{(masks[0] - masks[1]).abs().max():.0e}"
    for kind in KINDS:
        with FlopCounterMode(display=False) as counter:
            ways[kind]()
        flops[kind] = counter.get_total_flops() / 1e9
    common = [f"--{name}={getattr(args, name)}" for name in SIZES]
    peaks = {
        (kind, dtype): peak_of_fresh_process(
            __file__,
            *common,
            f"--batch_size={batch_size}",
            "--peak_of",
            kind,
            step,
            dtype,
        )
        for kind, dtype in {(k, precision) for k in KINDS}
        | {("counterpart", "float32")}
    }
    what = f"{step}, batch {batch_size}, {precision}"
    ours = median["ours"]
    memory = peaks["ours", precision]
    gflop = (flops["ours"], flops["counterpart"])
    rows = [
        Row(
            what,
            ours,
            median["counterpart"],
            "s",
            AGAINST,
            (memory, peaks["counterpart", precision]),
            gflop,
            difference,
            goals[0],
        )
    ]
    if precision != "float32":
        rows.append(
            Row(
                what,
                ours,
                median["float32"],
                "s",
                f"{AGAINST}, float32",
                (memory, peaks["counterpart", "float32"]),
                gflop,
                "",
                goals[1],
            )
        )
    return rows


def peak(args, kind: str, step: str, precision: str) -> float:
    """Return the peak of two steps in MiB, the weights and what they need included."""
    build(argparse.Namespace(channels=1), "ours", precision)  # imports what is needed
    before = resident("VmRSS")
    run, _ = step_of(args, kind, step, precision, args.batch_size)
    for _ in range(2):
        run()
    return resident("VmHWM") - before


def print_profile(args) -> None:
    """Print where the time of our training step goes."""
    from torch.profiler import ProfilerActivity, profile

    for precision in ("float32", "bfloat16"):
        step, _ = step_of(args, "ours", "training", precision, args.batch_size)
        for _ in range(3):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            step()
        events = [e for e in profiler.key_averages() if e.self_cpu_time_total > 0]
        events.sort(key=lambda e: -e.self_cpu_time_total)
        total = sum(e.self_cpu_time_total for e in events)
        print(f"\ntraining step, batch {args.batch_size}, {precision}:\n")
        print("| operation | calls | ms | share |\n|---|---|---|---|")
        for event in events[:14]:
            ms = event.self_cpu_time_total / 1e3
            share = event.self_cpu_time_total / total
            print(f"| {event.key} | {event.count} | {ms:.0f} | {share:.0%} |")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import torch

    torch.set_num_threads(args.threads)
    if args.peak_of:
        print(peak(args, *args.peak_of))
        return 0
    print(circumstances(args))
    rows = []
    for step, precision, batch_size, goals in (
        ("training", "float32", args.batch_size, (3, None)),
        ("training", "bfloat16", args.batch_size, (None, 5)),
        ("inference", "float32", 1, (2.5, None)),
        ("inference", "float32", args.batch_size, (3, None)),
    ):
        rows += measure(args, step, precision, batch_size, goals)
    missed = report(rows, args)
    if args.profile:
        print_profile(args)
    return missed


if __name__ == "__main__":
    sys.exit(main())
