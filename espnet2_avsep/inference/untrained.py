"""Systems without training as Python objects: mixture in, tracks out."""

import argparse
import itertools
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import torch

from espnet2_avsep.data.tables.base_config import read_config
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.si_sdr import si_sdr
from espnet2_avsep.tasks.choices import build_untrained

ASSIGNMENTS = ("order", "oracle")
_DEFAULTS: Dict[str, Any] = {
    "trained": False,
    "system": None,
    "published": [],
    "config": None,
    "baseline": None,
    "baseline_conf": {},
    "assignment": None,
    "sample_rate": 11625,
    "encoder": "stft",
    "encoder_conf": {},
    "decoder": "stft",
    "decoder_conf": {},
    "model_conf": {},
}


def load_untrained_config(path: Union[str, Path]) -> argparse.Namespace:
    """Read the config of a system without training.

    Raises:
        InputError: the file is missing, no such config, or has unknown keys.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a config of conf/tuning.")
    config = read_config(path)
    if config.get("trained") is not False:
        raise InputError(
            f"{path}: is not the config of a system without training, which says "
            "'trained: false'. Trained systems separate with avsep_inference."
        )
    unknown = sorted(set(config) - set(_DEFAULTS))
    if unknown:
        raise InputError(
            f"{path}: unknown key(s) {', '.join(unknown)}; a config without training "
            f"has {', '.join(_DEFAULTS)}."
        )
    return argparse.Namespace(**{**_DEFAULTS, **config})


class UntrainedAV:
    """A system without training, with the STFT and resynthesis of the trained ones.

    STFT, warp of the frequency axis, mask, inverse warp, the mixture's phase, inverse
    STFT: all but what makes the masks is the trained models' own.

    Args:
        config: Its config file.
        sample_rate: Sampling rate in Hz; None takes the config's.
        assignment: Which output is which source, where the system itself does not know:
            "order" (as they come) or "oracle" (the order with the best mean SI-SDR to
            the references, an upper bound). None takes the config's.

    Raises:
        InputError: see load_untrained_config; an assignment that does not fit.
    """

    def __init__(
        self,
        config: Union[str, Path],
        sample_rate: Optional[int] = None,
        assignment: Optional[str] = None,
    ):
        args = load_untrained_config(config)
        if sample_rate is not None:
            args.sample_rate = sample_rate
        self.model, self.baseline = build_untrained(args)
        self.assignment = assignment or args.assignment
        if self.baseline.knows_order and self.assignment is not None:
            raise InputError(
                f"{config}: assignment is {self.assignment}, but the outputs of "
                f"{args.baseline} have an order of their own; leave it out."
            )
        if not self.baseline.knows_order and self.assignment not in ASSIGNMENTS:
            raise InputError(
                f"{config}: assignment is {self.assignment!r}; {args.baseline} does "
                "not know which output is which source, so give 'order' (as they "
                "come) or 'oracle' (the best order by the references)."
            )

    def separate_batch(
        self, mixture: torch.Tensor, reference: torch.Tensor
    ) -> torch.Tensor:
        """Separate mixtures of equal length at the model's rate.

        Args:
            mixture: (B, L).
            reference: The sources, (B, N, L): for their number, for ideal masks, and
                for the assignment "oracle".

        Returns:
            (B, N, L).
        """
        tracks = self.model.separate_by(self._masks, mixture, reference)
        if self.assignment == "oracle":
            tracks = torch.stack(
                [best_order(t, r) for t, r in zip(tracks, reference, strict=True)]
            )
        return tracks

    def _masks(self, mixture: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        masks: List[torch.Tensor] = []
        for one, sources in zip(mixture[:, 0], reference, strict=True):
            given = sources.numpy() if self.baseline.needs_references else None
            try:
                mask = self.baseline.masks(
                    one.numpy(), len(sources), self.model.sample_rate, given
                )
            except ValueError as error:
                raise InputError(str(error)) from error
            masks.append(torch.from_numpy(mask))
        return torch.stack(masks)


def best_order(tracks: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Bring tracks (N, L) into the order with the best mean SI-SDR to (N, L).

    Pairs that cannot be compared (a silent track or source) do not count. Of orders
    that are equally good the first is taken, which is the tracks' own at best.
    """

    def comparable(signals: torch.Tensor) -> torch.Tensor:
        energy = signals.square().sum(dim=-1)
        return (energy > 0) & energy.isfinite()

    best, most = tracks, -float("inf")
    for order in itertools.permutations(range(len(tracks))):
        ordered = tracks[list(order)]
        usable = comparable(ordered) & comparable(reference)
        value = si_sdr(reference[usable], ordered[usable]).sum()
        if value > most:
            best, most = ordered, value
    return best
