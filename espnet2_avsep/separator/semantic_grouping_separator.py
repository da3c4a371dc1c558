"""Class tokens that gather what sounds like them from the mixture."""

from typing import Tuple

import torch
from torch import Tensor, nn

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.unet import UNetDecoder, UNetEncoder, level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator

# Of a position's share; a token that gets less in all gets nothing.
_EPS = 1e-6


class SemanticGroupingSeparator(AbsAVSeparator):
    """U-Net whose condition is gathered from the mixture itself by class tokens.

    After Mo and Tian, "Semantic Grouping Network for Audio Source Separation", 2024.
    Learned tokens, one a class, and the positions of the U-Net's bottleneck pass
    through a transformer together; then each position is shared out to the tokens
    (softmax over the tokens), each token takes the mean of what it got (0 where it got
    nothing), and the result conditions the decoder:

        a_pc = softmax_c(q(x_p) . k(g_c)),    s_c = g_c + v(sum_p a_pc x_p / sum_p a_pc)

    Notes:
        Adapted, and not the published system. The paper's is told the classes of the
        sources by their labels; here nobody is: each source's visual embedding points
        at the tokens (softmax of a projection's product with them), and the weighted
        mean of the tokens' s_c is the condition. So the pictures choose, but what they
        choose from is heard. The paper's hard assignment (Gumbel) is a soft one here,
        and its classification loss on the tokens is left out, so that tokens are for
        whatever training makes of them.

    Args:
        visual_dim: D, size of a visual embedding.
        num_classes: Tokens C.
        channels: Channels of the first level; each level doubles, at most 8 times it.
        layers: Levels of the U-Net.
        blocks: Transformer layers.
        heads: Attention heads of each; must divide the bottleneck's channels.
        bn_statistics: See UNetDecoder.
    """

    tiny = {"channels": 4, "layers": 3, "num_classes": 5, "blocks": 1, "heads": 2}

    def __init__(
        self,
        visual_dim: int = 512,
        num_classes: int = 12,
        channels: int = 64,
        layers: int = 7,
        blocks: int = 3,
        heads: int = 8,
        bn_statistics: str = "per_source",
    ):
        super().__init__()
        widths = level_widths(channels, layers)
        width = widths[-1]
        if width % heads:
            raise ValueError(
                f"heads={heads}: does not divide the bottleneck's {width} channels."
            )
        self.visual_dim = visual_dim
        self.layers = layers
        self.bottleneck_dim = width
        self.encoder = UNetEncoder(widths)
        self.tokens = nn.Parameter(torch.randn(num_classes, width) / width**0.5)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                2 * width,
                dropout=0.0,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(blocks)
        )
        self.query = nn.Linear(width, width, bias=False)
        # Without a bias: it would add the same to all tokens, which softmax ignores.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.pointer = nn.Linear(visual_dim, width)
        self.decoder = UNetDecoder(
            widths, condition_channels=width, statistics=bn_statistics, queried=False
        )

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward."""
        self.check_visual(visual)
        padded, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        features = self.encoder(padded)
        bottleneck = features[-1].mean(dim=(-2, -1))
        tokens = self._gather(features[-1].flatten(2).transpose(1, 2))  # (B, C, W)
        scale = tokens.size(-1) ** -0.5
        choice = self.pointer(visual) @ self.tokens.transpose(0, 1) * scale
        condition = choice.softmax(dim=-1) @ tokens  # (B, N, W)
        logits = self.decoder(features, condition.transpose(0, 1))  # (N, B, F, T)
        return logits.transpose(0, 1)[..., :num_bins, :num_frames], bottleneck

    def _gather(self, positions: Tensor) -> Tensor:
        """What each token finds among positions (B, P, W): (B, C, W)."""
        number = len(self.tokens)
        tokens = self.tokens.to(positions.dtype).expand(len(positions), -1, -1)
        x = torch.cat([tokens, positions], dim=1)
        for block in self.blocks:
            x = block(x)
        tokens, positions = x[:, :number], x[:, number:]
        scale = positions.size(-1) ** -0.5
        share = self.query(positions) @ self.key(tokens).transpose(1, 2) * scale
        share = share.softmax(dim=-1)  # (B, P, C)
        share = share / (share.sum(dim=1, keepdim=True) + _EPS)
        return tokens + self.value(share.transpose(1, 2) @ positions)
