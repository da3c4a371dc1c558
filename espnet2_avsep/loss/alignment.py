"""Alignment of the separator's bottleneck with a pretrained audio embedding."""

from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput


class AlignmentLoss(AbsCriterion):
    """L = 1 - cos(z_a, z_CLAP) of the mixture (HFRA, eqs. 6 and 7).

    z_a is the U-Net's bottleneck averaged over its positions. The criterion's weight in
    the config is lambda of eq. (8).

    Args:
        audio_dim: Size of z_a.
        teacher_dim: Size of z_CLAP. Where it differs from audio_dim (small models) a
            linear layer maps z_a to it; where it is the same there is none, as in the
            paper.
    """

    needs_teacher = True

    def __init__(self, audio_dim: int, teacher_dim: int = 512):
        super().__init__()
        self.teacher_dim = teacher_dim
        self.projection = (
            nn.Identity()
            if audio_dim == teacher_dim
            else nn.Linear(audio_dim, teacher_dim)
        )

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        if output.teacher is None:
            raise ValueError(
                "the alignment criterion needs a teacher: set 'teacher: clap' in the "
                "config, or remove the criterion."
            )
        z = self.projection(output.bottleneck).float()
        return 1 - F.cosine_similarity(z, output.teacher.float(), dim=-1)
