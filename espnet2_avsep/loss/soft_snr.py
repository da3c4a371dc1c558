"""Signal-to-noise ratio of the estimated waveforms, with a soft limit."""

from typing import Optional

import torch
from torch import Tensor

from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput

_EPS = 1e-8


class SoftSNR(AbsCriterion):
    """Negative SNR in dB, mean over the sources; silent sources included.

    Wisdom et al., "What's All the FUSS About Free Universal Sound Separation Data?",
    ICASSP 2021: the thresholded SNR loss, and its form for silent sources. With the
    source s, its estimate e, the mixture x and t = 10 ** (-max_db / 10)::

        loss = 10 log10(|s - e|^2 + t |x|^2) - 10 log10(|s|^2 + t |x|^2)

    so that no source counts for more than about ``max_db``, and the estimate of a
    silent source, for which plain SNR is not defined, is pushed towards silence.

    Notes:
        The paper takes t |s|^2 where s sounds, and t |x|^2 where it is silent, without
        the second term; with t |x|^2 everywhere there is no step between the two. A
        mixture that is scaled has the same loss, but for the rounding guard.

    Args:
        max_db: SNR, measured against the mixture, beyond which nothing is gained.
        silent_db: The same for silent sources: how far below the mixture their
            estimates are pushed. Null takes max_db.
        silent_weight: Weight of a silent source beside one that sounds. With weight 1
            and 30 dB, a network that is not sure what sounds gives up quiet sources.
    """

    needs = "tracks"

    def __init__(
        self,
        max_db: float = 30.0,
        silent_db: Optional[float] = None,
        silent_weight: float = 1.0,
    ):
        super().__init__()
        silent_db = max_db if silent_db is None else silent_db
        for name, value in (("max_db", max_db), ("silent_db", silent_db)):
            if not 0 < value < 200:
                raise ValueError(
                    f"{name}={value}: expected more than 0 and less than 200."
                )
        if not 0 <= silent_weight < float("inf"):
            raise ValueError(
                f"silent_weight={silent_weight}: expected 0 or more, and finite."
            )
        self.threshold = 10 ** (-max_db / 10)
        self.silent_threshold = 10 ** (-silent_db / 10)
        self.silent_weight = silent_weight

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        source, estimate = output.sources, output.tracks
        energy = source.square().sum(dim=-1)  # (B, N)
        sounds = energy > 0
        mixture = source.sum(dim=1, keepdim=True).square().sum(dim=-1)  # (B, 1)
        threshold = torch.where(sounds, self.threshold, self.silent_threshold)
        floor = threshold * mixture + _EPS
        error = (source - estimate).square().sum(dim=-1) + floor
        loss = 10 * (error.log10() - (energy + floor).log10())
        return torch.where(sounds, loss, self.silent_weight * loss).mean(dim=-1)
