"""From the rows of a batch to one embedding per source, inside the model."""

from torch import Tensor
from torch.nn import functional as F

from espnet2_avsep.layers.standardise import Standardise
from espnet2_avsep.visual.abs_adapter import AbsVisualAdapter


class MeanAdapter(AbsVisualAdapter):
    """Average the frames of each source (CLIPSep: mean of 3 frames; HFRA: one frame).

    Args:
        normalise: Scale the result to unit length.
    """

    def __init__(self, normalise: bool = False):
        super().__init__()
        self.normalise = normalise

    def forward(self, visual: Tensor) -> Tensor:
        """Reduce (B, N, V, D) to (B, N, D)."""
        visual = visual.mean(dim=2)
        return F.normalize(visual, dim=-1) if self.normalise else visual


class StandardiseAdapter(Standardise, AbsVisualAdapter):
    """Average the frames, then give each value zero mean and unit variance.

    Meant for frozen encoders whose embeddings lie close together (a randomly
    initialised one above all), where nearly all of an embedding is common to every
    picture.

    Args:
        dim: D, size of an embedding.
        eps: Added to the variance, as a share of its mean over the values.
    """

    tiny = {"dim": 4}

    def __init__(self, dim: int = 512, eps: float = 1e-3):
        super().__init__(dim, eps)

    def forward(self, visual: Tensor) -> Tensor:
        """Reduce (B, N, V, D) to (B, N, D)."""
        return super().forward(visual.mean(dim=2))
