"""What a training criterion sees, and what it returns."""

from abc import ABC, abstractmethod
from typing import Any, Mapping, NamedTuple, Optional

from torch import Tensor, nn

from espnet2_avsep.layers.grounding import Grounding
from espnet2_avsep.layers.recursion import RecursionSteps


class SeparationOutput(NamedTuple):
    """One forward pass, as the criterions see it. Magnitudes are log-frequency ones.

    In training, where all criterions need the tracks, reference is None; with
    separators from waveform to waveform, logits, mask and mixture are, too.

    Attributes:
        logits: Mask logits, (B, N, F, T).
        mask: Masks, (B, N, F, T).
        mixture: Magnitude of the mixture, (B, 1, F, T).
        reference: Magnitude of each source, (B, N, F, T), or None, see above.
        bottleneck: The separator's embedding of the mixture, (B, C).
        teacher: The teacher's embedding of the mixture, (B, E), or None.
        tracks: Estimated waveforms, (B, N, L), where a criterion needs them.
        sources: True waveforms, (B, N, L), where there are tracks.
        labels: Number of each source's class, (B, N), or None.
        steps: Of separators that take one source after the other, or None.
        grounding: Of separators that tell what sounds, or None.
        presence: Logits of "the query is in the mixture", (B, N), where a criterion
            needs them.
    """

    logits: Optional[Tensor]
    mask: Optional[Tensor]
    mixture: Optional[Tensor]
    reference: Optional[Tensor]
    bottleneck: Tensor
    teacher: Optional[Tensor] = None
    tracks: Optional[Tensor] = None
    sources: Optional[Tensor] = None
    labels: Optional[Tensor] = None
    steps: Optional[RecursionSteps] = None
    grounding: Optional[Grounding] = None
    presence: Optional[Tensor] = None


class AbsCriterion(nn.Module, ABC):
    """A loss of one forward pass.

    Attributes:
        needs: Field of SeparationOutput without which it cannot be: "logits" (only
            separators of masks have them), "tracks" or "mask" (all have them).
        needs_labels: Whether it needs the classes of the sources.
        needs_steps: Whether it needs the steps of a recursive separator.
        needs_grounding: Whether it needs a separator that tells what sounds.
        needs_presence: Whether it needs a separator with ``tells_presence``.
        needs_teacher: Whether it needs the teacher's embeddings, of ``teacher_dim``
            values. Its constructor then takes ``audio_dim``, the size of the
            separator's bottleneck.
        model_conf: Values that options of the model must have with it.
        num_sources: Sources of a mixture in training, where it needs a fixed number.
    """

    needs = "mask"
    needs_labels = False
    needs_steps = False
    needs_grounding = False
    needs_presence = False
    needs_teacher = False
    model_conf: Mapping[str, Any] = {}
    num_sources: Optional[int] = None

    @abstractmethod
    def forward(self, output: SeparationOutput) -> Tensor:
        """Return the loss of each mixture, (B,)."""


def energy_weight(mixture: Tensor) -> Tensor:
    """Weight of each bin: log(1 + |X|), kept within [1e-3, 10].

    Zhao et al., "The Sound of Pixels", ECCV 2018 (released code).

    Args:
        mixture: Magnitude of the mixture, (B, 1, F, T).
    """
    return mixture.log1p().clamp(1e-3, 10)


def ratio_target(
    reference: Tensor, mixture: Tensor, max_ratio: float, eps: float = 1e-10
) -> Tensor:
    """Ratio mask X_i / X of each bin, at most ``max_ratio``.

    Args:
        reference: Magnitude of each source, (B, N, F, T).
        mixture: Magnitude of the mixture, (B, 1, F, T).
        max_ratio: Upper bound.
        eps: Added to the mixture.
    """
    return (reference / (mixture + eps)).clamp(max=max_ratio)
