"""CLIP's image tower, a vision transformer, without open_clip.

Importing open_clip takes longer than encoding ten pictures, and its tower computes the
last block for every patch, of which only the class token is used.
"""

from typing import Any, Dict, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# What the image side of open_clip's configuration of such a tower may hold.
_KEYS = {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"}


def is_plain_vit(config: Dict[str, Any]) -> bool:
    """Whether :class:`CLIPVisionTransformer` is the image tower of a configuration.

    Args:
        config: Of an open_clip model, with ``embed_dim`` and ``vision_cfg``.
    """
    vision = config.get("vision_cfg")
    return (
        vision is not None
        and set(vision) <= _KEYS
        and isinstance(vision.get("layers", 12), int)
        and "multimodal_cfg" not in config
    )


class CLIPVisionTransformer(nn.Module):
    """Pictures in, the projected class tokens out.

    Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision", ICML 2021. Names of the weights, and the order in which random ones
    are drawn, are those of open_clip's VisionTransformer.

    Args:
        embed_dim: D, size of an embedding.
        image_size: H = W in pixels.
        patch_size: Height and width of a patch in pixels.
        width: Size of a token.
        layers: Number of transformer blocks.
        head_width: Size of an attention head.
        mlp_ratio: Hidden units of a block's MLP, in widths.
        quick_gelu: Whether the activation is x * sigmoid(1.702 x), as in OpenAI's
            weights, instead of GELU.
        dtype: Of the weights. Random ones are drawn in float32, and converted block by
            block: the whole tower never lies in memory in float32.
    """

    def __init__(
        self,
        embed_dim: int,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 768,
        layers: int = 12,
        head_width: int = 64,
        mlp_ratio: float = 4.0,
        quick_gelu: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.output_dim = embed_dim
        scale = width**-0.5
        patches = (image_size // patch_size) ** 2
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(
            scale * torch.randn(patches + 1, width)
        )
        self.ln_pre = nn.LayerNorm(width)
        blocks = [
            _Block(width, width // head_width, int(width * mlp_ratio), quick_gelu).to(
                dtype
            )
            for _ in range(layers)
        ]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embed_dim))
        self.to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            (B, D), not normalised to unit length.
        """
        x = self.conv1(images).flatten(2).transpose(1, 2)  # (B, patches, width)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        *blocks, last = self.transformer["resblocks"]
        for block in blocks:
            x = block(x)
        return self.ln_post(last(x, 1)[:, 0]) @ self.proj


class _Block(nn.Module):
    """Self-attention and an MLP, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int, quick_gelu: bool):
        super().__init__()
        self.heads = heads
        self.activation = _quick_gelu if quick_gelu else F.gelu
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)}
        )

    def forward(self, x: Tensor, wanted: Optional[int] = None) -> Tensor:
        """Return (B, T, width) of (B, T, width), or of the first ``wanted`` tokens."""
        normed = self.ln_1(x)
        weight, bias = self.attn.in_proj_weight, self.attn.in_proj_bias
        if wanted is None:
            query, key, value = F.linear(normed, weight, bias).chunk(3, dim=-1)
        else:
            x, width = x[:, :wanted], x.size(2)
            query = F.linear(normed[:, :wanted], weight[:width], bias[:width])
            found = F.linear(normed, weight[width:], bias[width:])
            key, value = found.chunk(2, dim=-1)
        heads = F.scaled_dot_product_attention(*map(self._split, (query, key, value)))
        x = x + self.attn.out_proj(heads.transpose(1, 2).flatten(2))
        hidden = self.activation(self.mlp["c_fc"](self.ln_2(x)))
        return x + self.mlp["c_proj"](hidden)

    def _split(self, x: Tensor) -> Tensor:
        """Return (B, heads, T, width / heads) of (B, T, width)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)
