"""Whether what a picture shows can be heard: the grounding network of CCoL."""

from typing import Callable, NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.initialisation import initialise

# Index of the logits: what the picture shows sounds, or it is silent.
SOUNDS, SILENT = 0, 1
# The convolutions of each group, as multiples of the first one's channels; a
# max-pooling that halves both axes follows each group.
_GROUPS = ((1,), (2,), (4, 4), (8, 8))


class Grounding(NamedTuple):
    """What the grounding network says of a training item.

    Attributes:
        logits: (B, 1 + N, N, 2): sound 0 is the mixture, sound n source n by itself;
            the pictures are those of the sources. NaN for the sound of a silent source.
        phase: The phase of the training.
    """

    logits: Tensor
    phase: str


def ground_heard(
    embed: Callable[[Tensor], Tensor],
    compare: Callable[[Tensor], Tensor],
    feature: Tensor,
    heard: Optional[Tensor] = None,
) -> Tensor:
    """Embed the sounds that are of interest, and compare them with the queries.

    Args:
        embed: Features of K sounds, (K, 1, F, T) -> embeddings, (K, C).
        compare: Embeddings of M sounds, (B, M, C) -> logits, (B, M, N, 2).
        feature: Features of M sounds, (B, M, F, T).
        heard: Which sounds are of interest, (B, M); None: all.

    Returns:
        Logits (B, M, N, 2); NaN for a sound that is of no interest.
    """
    if heard is None:
        heard = torch.ones(feature.shape[:2], dtype=torch.bool, device=feature.device)
    sounds = embed(feature[heard][:, None])
    every = sounds.new_zeros(*heard.shape, sounds.size(-1))
    every[heard] = sounds
    return compare(every).masked_fill(~heard[..., None, None], torch.nan)


class GroundingNetwork(nn.Module):
    """Pairs of a sound and a picture -> logits of "sounds" and "is silent".

    Tian, Hu and Xu, "Cyclic Co-Learning of Sounding Object Visual Grounding and Sound
    Separation", CVPR 2021, as released: 3x3 convolutions of 64 | 128 | 256, 256 |
    512, 512 channels with ReLU, no normalisation, max-pooling by 2 after each group and
    the global maximum; a perceptron 1024-512-128-2 on sound and picture together, whose
    output is doubled.

    Notes:
        The convolutions' initial weights are He's (ours; not stated): with torch's own,
        and no normalisation, the sound's embedding would be a hundredth of the
        picture's, and be ignored.

    Args:
        visual_dim: Size of a picture's embedding.
        channels: Channels of the first convolution; the sound's embedding has 8 times
            as many, and the perceptron's first layer, too.
        logit_scale: Factor of the perceptron's output.
        initialisation: Initial weights of the perceptron: null (torch's own) or one of
            layers.initialisation.INITIALISATIONS ("sound_of_pixels": N(0, 1e-4)).
    """

    def __init__(
        self,
        visual_dim: int = 512,
        channels: int = 64,
        logit_scale: float = 2.0,
        initialisation: Optional[str] = None,
    ):
        super().__init__()
        layers: list = []
        width = 1
        for group in _GROUPS:
            for factor in group:
                layers += [nn.Conv2d(width, factor * channels, 3, padding=1), nn.ReLU()]
                width = factor * channels
            layers.append(nn.MaxPool2d(2))
        self.audio = nn.Sequential(*layers)
        self.pairs = nn.Sequential(
            nn.Linear(width + visual_dim, width),
            nn.ReLU(),
            nn.Linear(width, 2 * channels),
            nn.ReLU(),
            nn.Linear(2 * channels, 2),
        )
        for layer in self.audio:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.logit_scale = logit_scale
        initialise(self.pairs, initialisation)
        self.audio.to(memory_format=torch.channels_last)

    def embed(self, feature: Tensor) -> Tensor:
        """Embed spectrograms (M, 1, F, T) to (M, 8 * channels)."""
        padded, _ = pad_to_multiple(feature, 2 ** len(_GROUPS))
        return self.audio(padded).amax(dim=(-2, -1))

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Compare every sound with every picture.

        Args:
            audio: Embeddings of M sounds, (B, M, 8 * channels).
            visual: Embeddings of N pictures, (B, N, visual_dim).

        Returns:
            (B, M, N, 2), logits of SOUNDS and SILENT.
        """
        # The first layer of [audio, visual] is the sum of a layer of each part.
        first, *rest = self.pairs
        width = audio.size(-1)
        of_audio = F.linear(audio, first.weight[:, :width], first.bias)
        of_visual = F.linear(visual, first.weight[:, width:])
        x = of_audio[:, :, None] + of_visual[:, None]  # (B, M, N, width)
        for layer in rest:
            x = layer(x)
        return self.logit_scale * x


@torch.no_grad()
def grounding_accuracy(logits: Tensor, reference: Tensor) -> Tensor:
    """Share of right answers for the sources of mixtures by themselves.

    Args:
        logits: See Grounding.
        reference: Magnitude of each source, (B, N, F, T).

    Returns:
        The mean of two shares: of sources whose own picture "sounds" in them, and of
        pairs of a source and another one's picture that "is silent". NaN without such.
    """
    heard = reference.flatten(2).any(dim=-1)  # (B, N)
    says = logits[:, 1:].argmax(dim=-1) == SOUNDS  # (B, N sounds, N pictures)
    own = torch.eye(heard.size(1), dtype=torch.bool, device=heard.device)
    yes = says[heard[:, :, None] & own]
    no = ~says[heard[:, :, None] & ~own]
    return (yes.double().mean() + no.double().mean()) / 2
