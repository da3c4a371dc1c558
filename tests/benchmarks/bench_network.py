"""The separator against the same equations written straightforwardly.

    python tests/benchmarks/bench_network.py [--threads 2] [--batch_size 8] ...

Both have the same weights and are timed in turn, A B A B ..., in one process; the table
has the median of the rounds, their ratio, the arithmetic, and the greatest difference
between the masks.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from espnet2_avsep.separator.hfra_separator import HFRASeparator
from tests.benchmarks.reference_network import separate

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def training_step(run, model, feature, visual, dtype):
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits = run(feature, visual)
    logits.float().sigmoid().mean().backward()


@torch.inference_mode()
def inference(run, model, feature, visual, dtype):
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        run(feature, visual)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--num_sources", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = HFRASeparator(channels=args.channels)
    kinds = {
        "ours": lambda x, e: model(x, e)[0],
        "reference": lambda x, e: separate(model, x, e),
    }
    print(
        f"torch {torch.__version__}, {args.threads} threads, malloc: "
        f"{'keep' if os.environ.get('MALLOC_MMAP_MAX_') == '0' else 'default'}; "
        f"{args.num_sources} sources, {args.frames} frames, {args.channels} channels; "
        f"medians of {args.rounds} interleaved rounds after one warm-up"
    )
    header = ["step", "batch", "precision", "ours (s)", "reference (s)"]
    header += ["ratio", "GFLOP ours / reference", "greatest difference"]
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    jobs = [
        ("training", training_step, args.batch_size, "float32"),
        ("training", training_step, args.batch_size, "bfloat16"),
        ("inference", inference, 1, "float32"),
        ("inference", inference, args.batch_size, "float32"),
    ]
    for name, step, batch, precision in jobs:
        dtype = DTYPES[precision]
        model.train(step is training_step)
        feature = torch.randn(batch, 1, 256, args.frames)
        visual = torch.randn(batch, args.num_sources, 512)
        times = {kind: [] for kind in kinds}
        for round_ in range(args.rounds + 1):
            for kind, run in kinds.items():
                start = time.perf_counter()
                step(run, model, feature, visual, dtype)
                if round_ > 0:
                    times[kind].append(time.perf_counter() - start)
        flops = {}
        for kind, run in kinds.items():
            with FlopCounterMode(display=False) as counter:
                step(run, model, feature, visual, dtype)
            flops[kind] = counter.get_total_flops() / 1e9
        with torch.no_grad():
            masks = [run(feature, visual).sigmoid() for run in kinds.values()]
        gflop = f"{flops['ours']:.0f} / {flops['reference']:.0f}"
        ours, reference = (statistics.median(times[kind]) for kind in kinds)
        print(
            f"| {name} | {batch} | {precision} | {ours:.3f} | {reference:.3f} | "
            f"{reference / ours:.2f} | {gflop} | "
            f"{(masks[0] - masks[1]).abs().max():.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
