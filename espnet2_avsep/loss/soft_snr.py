"""Signal-to-noise ratio of the estimated waveforms, with a soft limit."""

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
    """

    needs = "tracks"

    def __init__(self, max_db: float = 30.0):
        super().__init__()
        if not 0 < max_db < 200:
            raise ValueError(
                f"max_db={max_db}: expected more than 0 and less than 200."
            )
        self.threshold = 10 ** (-max_db / 10)

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        source, estimate = output.sources, output.tracks
        mixture = output.sources.sum(dim=1, keepdim=True)
        floor = self.threshold * mixture.square().sum(dim=-1) + _EPS  # (B, 1)
        error = (source - estimate).square().sum(dim=-1) + floor  # (B, N)
        level = source.square().sum(dim=-1) + floor
        return 10 * (error.log10() - level.log10()).mean(dim=-1)
