"""Scale-invariant signal to distortion ratio.

Jonathan Le Roux, Scott Wisdom, Hakan Erdogan and John R. Hershey, "SDR - half-baked or
well done?", ICASSP 2019: one gain instead of BSS Eval's filter of 512 taps, so that an
equaliser counts as distortion.
"""

import math

import torch

# Residuals below the rounding error of float64 are not told apart.
LIMIT_DB = -20 * math.log10(torch.finfo(torch.float64).eps)


def si_sdr(
    references: torch.Tensor, estimates: torch.Tensor, zero_mean: bool = False
) -> torch.Tensor:
    """SI-SDR of estimates, limited to +-``LIMIT_DB`` (313 dB).

    Args:
        references: Source waveforms, (..., L).
        estimates: Waveforms of a shape that broadcasts with it.
        zero_mean: Whether to take the means away first, as some toolkits do. The paper
            does not.

    Returns:
        Scores in dB, float64, (...).

    Raises:
        ValueError: a silent signal, NaN or infinity.
    """
    references = references.to(torch.float64)
    estimates = estimates.to(torch.float64)
    if zero_mean:
        references = references - references.mean(-1, keepdim=True)
        estimates = estimates - estimates.mean(-1, keepdim=True)
    for name, signals in (("reference", references), ("estimate", estimates)):
        norm = torch.linalg.vector_norm(signals, dim=-1)
        if not torch.isfinite(norm).all():
            raise ValueError(f"a {name} holds NaN or infinite samples.")
        if (norm == 0).any():
            raise ValueError(
                f"a {name} is silent{' but for its mean' if zero_mean else ''} (all "
                "samples are 0); SI-SDR is not defined."
            )
    gain = (estimates * references).sum(-1, keepdim=True)
    gain = gain / references.square().sum(-1, keepdim=True)
    target = gain * references
    ratio = torch.linalg.vector_norm(target, dim=-1) / torch.linalg.vector_norm(
        estimates - target, dim=-1
    )
    return (20 * torch.log10(ratio)).clamp(-LIMIT_DB, LIMIT_DB)
