"""Queries that ask motion and sound, and what becomes of them."""

import math
from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn


def sine_positions(
    rows: int, columns: int, dim: int, device: Optional[torch.device] = None
) -> Tensor:
    """Positions of a map's places as sines, (rows * columns, dim).

    Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020: half of
    the values tell the row, half the column, in sines and cosines of wavelengths from
    2 pi to 20,000 pi places.

    Raises:
        ValueError: dim is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"dim={dim}: expected a multiple of 4.")
    steps = torch.arange(dim // 4, device=device)
    scale = torch.exp(-math.log(10000.0) * steps / (dim // 4))

    def encode(number: int) -> Tensor:
        angle = torch.arange(number, device=device)[:, None] * scale
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (number, dim / 2)

    shape = (rows, columns, dim // 2)
    parts = [encode(rows)[:, None].expand(shape), encode(columns)[None].expand(shape)]
    return torch.cat(parts, dim=2).flatten(0, 1)


class QueryDecoderLayer(nn.Module):
    """Self-attention (or none), cross-attention and a feed-forward network.

    Each is added to its input and followed by a LayerNorm, as in Vaswani et al.,
    "Attention is All you Need", 2017. No dropout.

    Args:
        dim: Width.
        heads: Attention heads.
        feedforward_dim: Inner width of the feed-forward network.
        self_attention: Whether the queries look at one another first.
    """

    def __init__(
        self, dim: int, heads: int, feedforward_dim: int, self_attention: bool = True
    ):
        super().__init__()
        self.self_attention = self.self_norm = None
        if self_attention:
            self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
            self.self_norm = nn.LayerNorm(dim)
        self.cross_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, feedforward_dim), nn.ReLU(), nn.Linear(feedforward_dim, dim)
        )
        self.feedforward_norm = nn.LayerNorm(dim)

    def forward(
        self,
        queries: Tensor,
        memory: Tensor,
        hidden: Optional[Tensor] = None,
        padding: Optional[Tensor] = None,
        with_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Run the layer.

        Args:
            queries: (M, Q, dim).
            memory: What they ask, (M, P, dim).
            hidden: Queries that a query must not look at, (Q, Q), true where hidden.
            padding: Places of the memory that are none, (M, P), true where padded.
            with_weights: Whether the weights of the cross-attention are wanted.

        Returns:
            (M, Q, dim), and the mean weights of the heads, (M, Q, P), or None.
        """
        x = queries
        if self.self_attention is not None:
            own = self.self_attention(x, x, x, attn_mask=hidden, need_weights=False)[0]
            x = self.self_norm(x + own)
        found, weights = self.cross_attention(
            x, memory, memory, key_padding_mask=padding, need_weights=with_weights
        )
        x = self.cross_norm(x + found)
        return self.feedforward_norm(x + self.feedforward(x)), weights


class QueryTransformer(nn.Module):
    """Audio-visual transformer: sound encoded, queries decoded from motion and sound.

    Chen et al., "iQuery: Instruments as Queries for Audio-Visual Sound Separation",
    CVPR 2023; DGFNet, eqs. (1) to (4). Layer 0 of the decoder is cross-attention to the
    motion and a feed-forward network; the layers behind it are self-attention,
    cross-attention to the encoded sound, and a feed-forward network.

    Notes:
        The papers at hand do not state how places are told apart: here the encoder's
        input has DETR's sines added; steps of motion have no position.

    Args:
        audio_channels: Channels of the sound's map; mapped to dim by a linear layer
            where they differ.
        motion_dim: Size of a motion feature; None leaves layer 0 out.
        dim: Width.
        heads: Attention heads.
        feedforward_dim: Inner width of the feed-forward networks.
        encoder_layers: Self-attention layers over the sound.
        decoder_layers: Layers behind layer 0.
    """

    def __init__(
        self,
        audio_channels: int,
        motion_dim: Optional[int] = 1024,
        dim: int = 256,
        heads: int = 8,
        feedforward_dim: int = 1024,
        encoder_layers: int = 1,
        decoder_layers: int = 3,
    ):
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads={heads}: does not divide dim={dim}.")
        self.dim = dim
        self.input_projection = (
            nn.Identity() if audio_channels == dim else nn.Linear(audio_channels, dim)
        )
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, feedforward_dim, dropout=0.0, batch_first=True
            )
            for _ in range(encoder_layers)
        )
        self.motion_projection = self.motion_layer = None
        if motion_dim is not None:
            self.motion_projection = nn.Linear(motion_dim, dim)
            self.motion_layer = QueryDecoderLayer(
                dim, heads, feedforward_dim, self_attention=False
            )
        self.layers = nn.ModuleList(
            QueryDecoderLayer(dim, heads, feedforward_dim)
            for _ in range(decoder_layers)
        )

    def forward(
        self,
        queries: Tensor,
        audio: Tensor,
        motion: Optional[Tensor] = None,
        motion_padding: Optional[Tensor] = None,
        hidden: Optional[Tensor] = None,
        with_weights: bool = False,
    ) -> Tuple[Tensor, List[Tensor]]:
        """Decode the queries of N sources of B mixtures, source by source.

        Args:
            queries: (N * B, Q, dim).
            audio: Map of the sound, (N * B, C, H, W), or (B, C, H, W) where it is the
                same for all sources.
            motion: (N * B, S, motion_dim), or None without layer 0.
            motion_padding: Steps that are none, (N * B, S), true where padded.
            hidden: See QueryDecoderLayer.
            with_weights: Whether the weights of the cross-attention are wanted.

        Returns:
            (N * B, Q, dim), and with with_weights the weights of each layer's
            cross-attention: of layer 0, where it is there, (N * B, Q, S), of the others
            (N * B, Q, H * W).
        """
        memory = self.input_projection(audio.flatten(2).transpose(1, 2))
        positions = sine_positions(*audio.shape[-2:], self.dim, audio.device)
        memory = memory + positions.to(memory.dtype)
        for layer in self.encoder:
            memory = layer(memory)
        memory = memory.repeat(len(queries) // len(memory), 1, 1)
        weights: List[Tensor] = []
        if self.motion_layer is not None:
            queries, weight = self.motion_layer(
                queries,
                self.motion_projection(motion),
                padding=motion_padding,
                with_weights=with_weights,
            )
            weights.append(weight)
        for layer in self.layers:
            queries, weight = layer(queries, memory, hidden, with_weights=with_weights)
            weights.append(weight)
        return queries, weights if with_weights else []
