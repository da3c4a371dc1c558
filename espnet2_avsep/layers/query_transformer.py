"""Queries that attend to motion and sound."""

import math
from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAP_POSITIONS = ("index", "normalised")
INITIALISATIONS = (None, "xavier")
_WAVELENGTHS = 10000.0


def _sines(position: Tensor, dim: int) -> Tensor:
    """Sines and cosines of positions (P,), values in turn, (P, dim)."""
    steps = torch.arange(dim // 2, device=position.device, dtype=position.dtype)
    angle = position[:, None] * _WAVELENGTHS ** (-2 * steps / dim)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def map_positions(
    rows: int,
    columns: int,
    dim: int,
    kind: str = "index",
    device: Optional[torch.device] = None,
) -> Tensor:
    """Positions of a map's places as sines, (rows * columns, dim).

    Carion et al., "End-to-End Object Detection with Transformers" (DETR), ECCV 2020:
    half of the values encode the row, half the column.

    Args:
        rows: H.
        columns: W.
        dim: Values of a position; a multiple of 4.
        kind: "index": sines, then cosines, of the indices 0 to H - 1, with wavelengths
            from 2 pi to 20,000 pi places. "normalised", as DETR's program and the
            released iQuery have it: of 2 pi n / H, n = 1 to H, sines and cosines in
            turn.
        device: Of the result.

    Raises:
        ValueError: dim is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"dim={dim}: expected a multiple of 4.")

    def encode(number: int) -> Tensor:
        if kind == "normalised":
            position = torch.arange(1, number + 1, device=device, dtype=torch.float64)
            return _sines(position * 2 * math.pi / (number + 1e-6), dim // 2)
        steps = torch.arange(dim // 4, device=device)
        scale = torch.exp(-math.log(_WAVELENGTHS) * steps / (dim // 4))
        angle = torch.arange(number, device=device)[:, None] * scale
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (number, dim / 2)

    shape = (rows, columns, dim // 2)
    parts = [encode(rows)[:, None].expand(shape), encode(columns)[None].expand(shape)]
    return torch.cat(parts, dim=2).flatten(0, 1)


def step_positions(
    number: int, dim: int, device: Optional[torch.device] = None
) -> Tensor:
    """Positions of the steps of a sequence as sines and cosines in turn, (number, dim).

    Vaswani et al., "Attention is All you Need", 2017, section 3.5.
    """
    position = torch.arange(number, device=device, dtype=torch.float64)
    return _sines(position, dim)


class Attention(nn.MultiheadAttention):
    """Multi-head attention whose batch comes first.

    Parameters, their names and the function are those of torch's module; the weights of
    the heads are computed only where they are wanted.

    Args:
        dim: Width of queries, keys and values.
        heads: Attention heads.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__(dim, heads, batch_first=True)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        hidden: Optional[Tensor] = None,
        with_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Attend.

        Args:
            query: (M, Q, dim).
            key: (M, P, dim).
            value: (M, P, dim).
            hidden: Places that must not be attended to, true where hidden, in a shape
                that broadcasts to (M, heads, Q, P).
            with_weights: Whether the weights are wanted.

        Returns:
            (M, Q, dim), and the mean weights of the heads, (M, Q, P), or None.
        """
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, weight, bias).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip(
                (query, key, value), weights, biases, strict=True
            )
        )  # (M, heads, Q or P, dim / heads)
        seen = None if hidden is None else ~hidden
        shares = None
        if with_weights:
            score = q @ k.transpose(2, 3) * q.size(3) ** -0.5
            if hidden is not None:
                score = score.masked_fill(hidden, -math.inf)
            shares = score.softmax(dim=3).mean(dim=1)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out_proj(found.transpose(1, 2).flatten(2)), shares


class SoundEncoderLayer(nn.Module):
    """Self-attention over the places of the sound's map, and a feed-forward network.

    Each is added to its input and followed by a LayerNorm; no dropout. Parameters have
    the names of torch's TransformerEncoderLayer.

    Args:
        dim: Width.
        heads: Attention heads.
        feedforward_dim: Inner width of the feed-forward network.
    """

    def __init__(self, dim: int, heads: int, feedforward_dim: int):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, positions: Optional[Tensor] = None) -> Tensor:
        """Run the layer.

        Args:
            x: (M, P, dim).
            positions: Added to queries and keys, (P, dim).
        """
        key = x if positions is None else x + positions
        x = self.norm1(x + self.self_attn(key, key, x)[0])
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class QueryDecoderLayer(nn.Module):
    """Self-attention (or none), cross-attention and a feed-forward network.

    Each is added to its input and followed by a LayerNorm, as in Vaswani et al.,
    "Attention is All you Need", 2017. No dropout.

    Args:
        dim: Width.
        heads: Attention heads.
        feedforward_dim: Inner width of the feed-forward network.
        self_attention: Whether the queries attend to one another first.
    """

    def __init__(
        self, dim: int, heads: int, feedforward_dim: int, self_attention: bool = True
    ):
        super().__init__()
        self.self_attention = self.self_norm = None
        if self_attention:
            self.self_attention = Attention(dim, heads)
            self.self_norm = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, feedforward_dim), nn.ReLU(), nn.Linear(feedforward_dim, dim)
        )
        self.feedforward_norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        key: Tensor,
        value: Tensor,
        positions: Optional[Tensor] = None,
        hidden: Optional[Tensor] = None,
        padding: Optional[Tensor] = None,
        with_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Run the layer.

        Args:
            x: (M, Q, dim).
            key: Keys of the memory, (K, P, dim); each of the K memories serves
                M / K entries of x: x is (M / K, K) in the order of its first axis.
            value: Values of the memory, (K, P, dim).
            positions: Added to x for queries and for keys of the self-attention,
                (M, Q, dim).
            hidden: Queries that a query must not attend to, (Q, Q), true where hidden.
            padding: Padded places of the memory, (K, P), true where padded.
            with_weights: Whether the weights of the cross-attention are wanted.

        Returns:
            (M, Q, dim), and the mean weights of the heads, (M, Q, P), or None.
        """
        if self.self_attention is not None:
            own = x if positions is None else x + positions
            x = self.self_norm(x + self.self_attention(own, own, x, hidden)[0])
        query = x if positions is None else x + positions
        # The queries of all sources attend to one memory side by side, so that its
        # keys and values are projected once.
        shape = (-1, len(key), *x.shape[1:])
        query = query.reshape(shape).transpose(0, 1).flatten(1, 2)
        if padding is not None:
            padding = padding[:, None, None]
        found, weights = self.cross_attention(query, key, value, padding, with_weights)
        found, weights = (
            y if y is None else y.unflatten(1, (-1, x.size(1))).transpose(0, 1)
            for y in (found, weights)
        )
        x = self.cross_norm(x + found.flatten(0, 1))
        if weights is not None:
            weights = weights.flatten(0, 1)
        return self.feedforward_norm(x + self.feedforward(x)), weights


class QueryTransformer(nn.Module):
    """Audio-visual transformer: sound encoded, queries decoded from motion and sound.

    Chen et al., "iQuery: Instruments as Queries for Audio-Visual Sound Separation",
    CVPR 2023; DGFNet, eqs. (1) to (4). Layer 0 of the decoder is cross-attention to the
    motion and a feed-forward network; the layers behind it are self-attention,
    cross-attention to the encoded sound, and a feed-forward network.

    Notes:
        DGFNet's paper does not state how places are told apart, nor where positions
        are added. As both releases have it: ``positions: normalised``,
        ``positions_in_values: false``, ``query_positions: true``, ``motion_positions:
        true``, ``final_norm: true``. ``initialisation: xavier`` is that of iQuery's.

    Args:
        audio_channels: Channels of the sound's map; mapped to dim by a linear layer
            where they differ.
        motion_dim: Size of a motion feature; None leaves layer 0 out.
        dim: Width.
        heads: Attention heads.
        feedforward_dim: Inner width of the feed-forward networks.
        encoder_layers: Self-attention layers over the sound.
        decoder_layers: Layers behind layer 0.
        positions: Positions of the map's places; see map_positions().
        positions_in_values: True adds these positions to the encoder's input, once:
            values contain them. False adds them to the queries and keys of the
            encoder's self-attention, and to the keys of the decoder's cross-attention.
        query_positions: Whether the queries are positions: they are added to the
            decoder's queries (and keys of the self-attention) in each layer, and the
            decoded values start from the object features. Otherwise the decoded values
            start from the sum of queries and object features.
        motion_positions: Whether the keys of the motion have positions; see
            step_positions().
        final_norm: Whether a LayerNorm follows the last layer.
        initialisation: Initial weights of the layers' matrices: null (torch's own) or
            "xavier", uniform (Glorot and Bengio, AISTATS 2010).
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
        positions: str = "index",
        positions_in_values: bool = True,
        query_positions: bool = False,
        motion_positions: bool = False,
        final_norm: bool = False,
        initialisation: Optional[str] = None,
    ):
        super().__init__()
        if initialisation not in INITIALISATIONS:
            raise ValueError(
                f"transformer_initialisation={initialisation!r}: expected null or "
                "'xavier'."
            )
        if heads < 1 or dim % heads:
            raise ValueError(f"heads={heads}: does not divide dim={dim}.")
        if dim % 4:
            raise ValueError(f"dim={dim}: expected a multiple of 4.")
        if positions not in MAP_POSITIONS:
            raise ValueError(
                f"positions={positions!r}: expected one of {MAP_POSITIONS}."
            )
        self.dim = dim
        self.positions = positions
        self.positions_in_values = positions_in_values
        self.query_positions = query_positions
        self.motion_positions = motion_positions
        self.input_projection = (
            nn.Identity() if audio_channels == dim else nn.Linear(audio_channels, dim)
        )
        self.encoder = nn.ModuleList(
            SoundEncoderLayer(dim, heads, feedforward_dim)
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
        self.final_norm = nn.LayerNorm(dim) if final_norm else nn.Identity()
        if initialisation == "xavier":
            for layer in (*self.encoder, self.motion_layer, *self.layers):
                for parameter in () if layer is None else layer.parameters():
                    if parameter.dim() > 1:
                        nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        queries: Tensor,
        objects: Tensor,
        audio: Tensor,
        motion: Optional[Tensor] = None,
        motion_padding: Optional[Tensor] = None,
        hidden: Optional[Tensor] = None,
        with_weights: bool = False,
    ) -> Tuple[Tensor, List[Tensor]]:
        """Decode the queries of N sources of B mixtures, source by source.

        Args:
            queries: (N * B, Q, dim).
            objects: Object features of the queries, zeros where there are none,
                (N * B, Q, dim).
            audio: Map of the sound, (N * B, C, H, W), or (B, C, H, W) where it is the
                same for all sources.
            motion: (N * B, S, motion_dim), or None without layer 0.
            motion_padding: Padded steps, (N * B, S), true where padded.
            hidden: See QueryDecoderLayer.
            with_weights: Whether the weights of the cross-attention are wanted.

        Returns:
            (N * B, Q, dim), and with with_weights the weights of each layer's
            cross-attention: of layer 0, where it is there, (N * B, Q, S), of the others
            (N * B, Q, H * W).
        """
        memory = self.input_projection(audio.flatten(2).transpose(1, 2))
        places = map_positions(
            *audio.shape[-2:], self.dim, self.positions, audio.device
        ).to(memory.dtype)
        if self.positions_in_values:
            memory, places = memory + places, None
        for layer in self.encoder:
            memory = layer(memory, places)
        key = memory if places is None else memory + places

        positions = queries if self.query_positions else None
        x = objects if self.query_positions else queries + objects
        weights: List[Tensor] = []
        if self.motion_layer is not None:
            steps = motion_key = self.motion_projection(motion)
            if self.motion_positions:
                place = step_positions(steps.size(1), self.dim, steps.device)
                motion_key = steps + place.to(steps.dtype)
            x, weight = self.motion_layer(
                x,
                motion_key,
                steps,
                positions,
                padding=motion_padding,
                with_weights=with_weights,
            )
            weights.append(weight)
        for layer in self.layers:
            x, weight = layer(
                x, key, memory, positions, hidden, with_weights=with_weights
            )
            weights.append(weight)
        return self.final_norm(x), weights if with_weights else []
