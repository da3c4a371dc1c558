#!/usr/bin/env python3
"""Make a small configuration of a full one, by one rule for all systems.

For tables on the generated mini corpus, on a CPU. What makes a system (fusion, losses,
heads) stays; what makes it slow or needs a download is reduced:

  * network: an eighth of the channels, at most 5 levels, narrow conditions, 128 rows of
    frequency (ResUNetDecouple+: a quarter of the window, for it takes most time);
  * frozen embeddings are standardised (those of a random encoder lie close together);
  * networks for pictures have random weights and do not learn, but for what follows
    ResNet-18, and see one picture of 64 x 64 pixels for each source (the dilated
    ResNet-18: scaled to 32 x 32): where they learn, they take five sixths of the time;
  * separators from waveform to waveform compute in bfloat16 where the CPU is faster in
    it, and learn from the SNR of their tracks: by L1, they return half of the mixture
    after as many steps as there is time for;
  * Co-Separation's classifier has an eighth of its channels, too;
  * the CLAP teacher is a randomly initialised, tiny one of its architecture;
  * one optimizer and schedule for all, batches of 4 mixtures of different classes; the
    learning rate is 2e-3, but for the parts that a separator declares (rate_factors;
    with --train_seconds);
  * phases of a training have the same shares of its epochs.

A system with a small configuration of its own (<name>_small.yaml beside the full one,
or train_avsep_mini*.yaml) keeps its network, spectrogram and losses; optimizer,
schedule and batches are those of all systems.

With --train_seconds, all systems train for the same CPU time instead of the same number
of steps; see avsep_train --help, --max_train_seconds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

import yaml

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError
from espnet2_avsep.registry import separator_choices, visual_adapter_choices

BATCH = 4
PICTURE = 64  # pixels a side
LOG_BINS = 128
LEARNING_RATE = 2.0e-3
MINI = "train_avsep_mini"
TINY_HTSAT = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    config: str = option(..., "conf/tuning/train_avsep_*.yaml")
    output: str = option(..., "the small configuration")
    max_epoch: int = option(4, "epochs of the training", least=1)
    num_iters_per_epoch: Optional[int] = option(
        None, "steps of an epoch (default: 75); not with --train_seconds", least=1
    )
    train_seconds: Optional[int] = option(
        None, "CPU time of the training, s, instead of a number of steps", least=1
    )


@with_options(Options, script=True)
def main(args: Options) -> None:
    """Run the command."""
    if args.train_seconds and args.num_iters_per_epoch:
        raise InputError("--num_iters_per_epoch and --train_seconds: give one of them.")
    path = Path(args.config)
    config = read_config(path)
    if config.get("trained") is False:
        raise InputError(f"--config {path}: is of a system without training.")
    own = path.with_name(f"{path.stem}_small.yaml")
    if own.exists():
        path, config = own, read_config(own)
    is_small = path.stem.endswith("_small") or path.stem.startswith(MINI)
    config = small(config, args.max_epoch, args.num_iters_per_epoch or 75, is_small)
    if args.train_seconds:
        config.update(timed(args.max_epoch, args.train_seconds))
        factors = separator_choices[config["separator"]].rate_factors
        if factors:
            config["optim_groups"] = [
                {"prefix": f"separator.{prefix}", "lr": LEARNING_RATE * factor}
                for prefix, factor in factors.items()
            ]
    with atomic_write(args.output) as f:
        f.write(f"# Made from {path.name} by local/make_small_config.py, see there.\n")
        yaml.safe_dump(config, f, sort_keys=False)


def small(
    config: Dict[str, Any],
    max_epoch: int,
    num_iters_per_epoch: int,
    is_small: bool = False,
) -> Dict[str, Any]:
    """Return the small configuration of a full one.

    Args:
        config: The full one, or, with ``is_small``, one whose network is small.
        max_epoch: Epochs of the training.
        num_iters_per_epoch: Steps of an epoch.
        is_small: Whether network and spectrogram stay as they are.
    """
    config = dict(config)
    separator = separator_choices[config["separator"]]
    adapter = visual_adapter_choices[config["visual_adapter"]]
    if not is_small:
        config["system"] += ", small"
        config["separator_conf"] = separator.small_conf(config["separator_conf"])
        config["model_conf"] = {**config["model_conf"], "num_log_bins": LOG_BINS}
    dataset = {**config["dataset_conf"], "different_class": True}
    dataset.pop("repeat", None)  # as many passes as the steps need
    if adapter.takes_frames:
        conf = config.get("visual_adapter_conf") or {}
        config["visual_adapter_conf"] = adapter.small_conf(conf)
        dataset["visual_frames"] = 1
        if not separator.needs_flow:  # flow is of whole pictures
            dataset["frame_crop"] = PICTURE
        dataset.pop("visual_stride", None)
    else:
        dim = config["separator_conf"]["visual_dim"]
        config.update(visual_adapter="standardise", visual_adapter_conf={"dim": dim})
    config["dataset_conf"] = dataset
    config["criterions"] = [small_criterion(item) for item in config["criterions"]]
    if any(item["name"] == "wave_l1" for item in config["criterions"]):
        config["criterions"] = [{"name": "soft_snr", "weight": 1.0}]
        config["model_conf"] = {**config["model_conf"], "precision": "bfloat16"}
    if config.get("teacher") == "clap":
        config["teacher_conf"] = {"checkpoint": "random", "htsat_conf": TINY_HTSAT}
        config["system"] += " (random teacher)"
    if "phases" in config:
        config["phases"] = small_phases(
            config["phases"], config["max_epoch"], max_epoch
        )
        # Rates and schedules are replaced below; factors of phases go with them.
        for phase in config["phases"]:
            phase.pop("lr_factor", None)
    steps = max_epoch * num_iters_per_epoch
    for key in ("optim_groups", "optim2", "optim2_conf", "scheduler2"):
        config.pop(key, None)
    config.pop("scheduler2_conf", None)
    config.update(
        optim="adam",
        optim_conf={"lr": LEARNING_RATE, "fused": True},
        scheduler="piecewiselinearwarmuplr",
        scheduler_conf={
            "warmup_steps_list": [0, max(1, steps // 10), steps],
            "warmup_lr_list": [0.0, LEARNING_RATE, LEARNING_RATE / 20],
        },
        grad_clip=5.0,
        batch_size=BATCH,
        max_epoch=max_epoch,
        num_iters_per_epoch=num_iters_per_epoch,
        num_workers=0,
        num_att_plot=0,
        log_interval=25,
    )
    return config


def small_criterion(item: Dict[str, Any]) -> Dict[str, Any]:
    """Return a criterion, its network reduced where it has one."""
    if item["name"] != "object_classification":
        return item
    return {**item, "conf": {**item["conf"], "width": 8}}


def small_phases(
    phases: List[Dict[str, Any]], full_epochs: int, max_epoch: int
) -> List[Dict[str, Any]]:
    """Return the phases with the same shares of fewer epochs, each one at least.

    Of fewer epochs than phases, the first phases stay.
    """
    phases = [dict(phase) for phase in phases[:max_epoch]]
    left = max_epoch
    for after, phase in zip(reversed(range(len(phases))), phases, strict=True):
        epochs = phase.pop("epochs", left)
        if after:
            epochs = max(1, round(max_epoch * epochs / full_epochs))
            phase["epochs"] = min(epochs, left - after)
            left -= phase["epochs"]
    return phases


def timed(max_epoch: int, train_seconds: int) -> Dict[str, Any]:
    """Return the options of a training for a given CPU time."""
    return {
        "max_train_seconds": train_seconds,
        "scheduler": None,
        "scheduler_conf": {},
        # More than there is time for: no step takes less than 10 ms.
        "num_iters_per_epoch": max(1, 100 * train_seconds // max_epoch),
    }


if __name__ == "__main__":
    sys.exit(main())
