"""Binary cross-entropy of "what the query shows is in the mixture"."""

from torch import Tensor
from torch.nn import functional as F

from espnet2_avsep.loss.abs_criterion import AbsCriterion, SeparationOutput


class PresenceBCE(AbsCriterion):
    """Teach a separator to tell queries of sources from queries of what is absent.

    A source counts as absent where it is silent: with ``dataset_conf.silent_sources``
    and ``dataset_conf.absent_queries``. Without them there are no negative examples,
    and the separator learns to answer "present" always.
    """

    needs_presence = True

    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""
        sounds = output.reference.flatten(2).any(dim=-1)  # (B, N)
        loss = F.binary_cross_entropy_with_logits(
            output.presence, sounds.to(output.presence.dtype), reduction="none"
        )
        return loss.mean(dim=-1)
