#!/usr/bin/env python3
"""What the systems cost beside HFRA: one table of the shipped configurations.

Each is built at its full size with random weights. Parameters are those that learn;
where a network works on the pictures themselves it is counted, a frozen encoder whose
embeddings are made once in stage 2 is not, nor is a teacher. GFLOP are those of the
forward pass of one clip, a mixture of two sources; "pictures" is the part of them that
is spent on pictures. A training step is all of it: STFT, warp, network, loss, backward
pass, clipping of the gradient and optimizer; separation goes from the waveform to the
tracks, one clip at a time. The last columns are times divided by those of the first
system, which is timed in turn with each of the others.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.common import (  # noqa: E402
    build_parser,
    circumstances,
    compare,
    prepare,
)

SYSTEMS = (
    *("hfra", "iquery", "dgfnet_attention", "dgfnet_mul", "dgfnet_gate", "dgfnet"),
    *("dgfnet_no_motion", "dgfnet_label_free", "sound_of_pixels", "co_separation"),
    *("tfc_tdf", "mp_net", "ccol", "sound_of_motions"),
)
EMBEDDING, MOTION_STEPS = 512, 60
COLUMNS = (
    *("system", "parameters", "GFLOP a clip", "of it pictures", "training step"),
    *("separation", "step / first", "separation / first"),
)
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument(
        "--systems",
        nargs="+",
        default=list(SYSTEMS),
        help="conf/tuning/train_avsep_<system>.yaml; others are compared to the first",
    )
    return parser


def load(system: str) -> argparse.Namespace:
    """Read a configuration; what is frozen or fetched is left out."""
    from espnet2_avsep.data.tables.base_config import read_config

    path = ROOT / "conf" / "tuning" / f"train_avsep_{system}.yaml"
    config = read_config(path)
    config["criterions"] = [c for c in config["criterions"] if c["name"] != "alignment"]
    return argparse.Namespace(
        **{"visual_adapter_conf": {}, **config, "teacher": None, "teacher_conf": {}}
    )


def batch_of(
    config: argparse.Namespace, batch_size: int, num_sources: Optional[int] = None
) -> Dict[str, Any]:
    """Generate a batch as the dataset gives it: noise, pictures or embeddings.

    Args:
        config: The configuration.
        batch_size: Mixtures.
        num_sources: Sources of a mixture, all of which sound; None: as in training.
    """
    import torch

    from espnet2_avsep.registry import visual_adapter_choices
    from espnet2_avsep.tasks.parts import separator_without_weights

    separator = separator_without_weights(config)
    takes_frames = visual_adapter_choices[config.visual_adapter].takes_frames
    generator = torch.Generator().manual_seed(0)
    data = config.dataset_conf
    shape: Tuple[int, ...] = (batch_size, data.get("visual_frames", 1))
    batch: Dict[str, Any] = {}
    silent = data.get("silent_sources")
    if not isinstance(silent, list) or num_sources is not None:
        silent = []
    for n in range(1, (num_sources or data["num_sources"]) + 1):
        wav = torch.randn(batch_size, data["segment_samples"], generator=generator)
        wav *= n not in silent
        batch[f"speech_ref{n}"] = 0.1 * wav
        if takes_frames:
            side = config.visual_adapter_conf["size"]
            size = (*shape, 3, side, side)
            frames = torch.randint(256, size, generator=generator)
            batch[f"visual_ref{n}"] = frames.byte()
        else:
            visual = torch.randn(*shape, EMBEDDING, generator=generator)
            batch[f"visual_ref{n}"] = visual
        if separator.needs_motion:
            size = (batch_size, MOTION_STEPS, separator.motion_dim)
            batch[f"motion_ref{n}"] = torch.randn(size, generator=generator)
            lengths = torch.full((batch_size,), MOTION_STEPS)
            batch[f"motion_ref{n}_lengths"] = lengths
        if data.get("labels"):
            batch[f"label_ref{n}"] = torch.full((batch_size,), n)
    return batch


def steps_of(system: str, batch_size: int) -> Tuple[Callable, Callable, Callable, Any]:
    """Return a training step; of a clip the separation and its pictures' embeddings.

    The last value is the model, in evaluation.
    """
    import copy

    import torch

    from espnet2_avsep.tasks.choices import build_model

    config = load(system)
    torch.manual_seed(0)
    model = build_model(config, with_teacher=False)
    learning = copy.deepcopy(model).train()
    batch = batch_of(config, batch_size)
    optimizer = torch.optim.AdamW(learning.parameters(), lr=1e-4, fused=True)

    def train() -> None:
        loss, _, _ = learning(**batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    model.eval()
    clip = batch_of(config, 1, num_sources=2)
    visual, conditions = model.source_inputs(clip)
    mixture = clip["speech_ref1"] + clip["speech_ref2"]

    def separate() -> None:
        with torch.inference_mode():
            model.separate(mixture, visual, **conditions)

    return train, separate, lambda: model.visual_adapter(visual), model


def count(system: str) -> Tuple[float, float, float]:
    """Parameters that learn in millions, GFLOP of a clip, and of its pictures."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    _, separate, embed, model = steps_of(system, 1)
    flops = []
    for run in (separate, embed):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
        flops.append(counter.get_total_flops() / 1e9)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return learning / 1e6, flops[0], flops[1]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import torch

    torch.set_num_threads(args.threads)
    print(circumstances(args))
    print(f"batch {args.batch_size}, {MOTION_STEPS} motion steps\n\n{HEADER}")
    first = steps_of(args.systems[0], args.batch_size)
    for system in args.systems:
        millions, flop, pictures = count(system)
        train, separate, *_ = steps_of(system, args.batch_size)
        ways = {"step": train, "separation": separate}
        ways.update({"first step": first[0], "first separation": first[1]})
        median, _ = compare(ways, args.rounds)
        step, separation = (
            median[name] / median[f"first {name}"] for name in ("step", "separation")
        )
        print(
            f"| {system} | {millions:.1f} M | {flop:.1f} | {pictures:.1f} | "
            f"{median['step']:.2f} s | {median['separation']:.2f} s | {step:.2f}x | "
            f"{separation:.2f}x |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
