"""A U-Net of time-frequency blocks on the linear axis, queried at its last layer."""

import functools
from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.layers.batch_norm import FoldedSequential, SourceBatchNorm2d
from espnet2_avsep.layers.grounding import ground_heard
from espnet2_avsep.layers.tfc_tdf import TFCTDFBlock
from espnet2_avsep.separator.abs_separator import AbsAVSeparator

# A logit whose exponential is 0; finite, for the gradient of logsumexp.
_NOTHING = -1e4


class TFCTDFSeparator(AbsAVSeparator):
    """TFC-TDF U-Net that runs once per mixture, with a query at its end.

    A separator of this project, not a published one. Its parts are: the blocks of Choi
    et al. (see TFCTDFBlock); rows taken together in patches, so that most of the work
    is on F / patch rows; FiLM of the query e_i (Perez et al., "FiLM: Visual Reasoning
    with a General Conditioning Layer", AAAI 2018)::

        H = U-Net(feature)                                      (B, K, T, F / patch)
        L_i, P_i = W ReLU(H (1 + gamma(e_i)) + beta(e_i))       (B, T, F) each

    with W a linear layer from K values to the rows of a patch. Only the second line
    runs for each source. With ``profile``, V e_i is added to L_i: the same at all
    frames, what a source's spectrum is like on average, which is learned within a few
    steps. The mask is sigmoid(L_i) exp(i P_i): bounded, so that it learns fast.

    The feature is a magnitude, which does not tell the sign of the difference between
    a source's phase and the mixture's. Trained networks leave P_i near 0, so that the
    masks are real in effect (measured in egs2/mini_music/doc/tfc_tdf.md).

    With ``competition``, the queries of a mixture share it with a rest that nobody asks
    for, whose logit is 0; magnitudes of masks are their softmax::

        exp(L_i) / (1 + sum_j exp(L_j))

    They add up to less than 1, and one query by itself has sigmoid(L_i) as before.
    forward() returns the logits whose sigmoid this is.

    With ``presence``, a bilinear form of the query and of z, the mean of the deepest
    level over rows and frames, is the logit of "what the query shows is in the
    mixture"::

        p_i = (U z) . (V e_i) + b

    It learns from the criterion presence_bce, by the absent queries and the silent
    sources of the dataset, with z of a whole segment, and no gradient of it reaches the
    rest of the network: masks learn as they do without. In evaluation masks are
    multiplied by sigmoid(a p_i), with z of ``presence_frames`` frames of the deepest
    level on each side and a = ``presence_scale``.

    Every operation is the same at all frames: shifting the input by a multiple of
    2 ** layers frames shifts the masks, but for the ends. A mask depends on
    ``context_frames`` frames on each side and on no others, so that a recording that is
    separated in chunks with as much context gives the same tracks.

    Args:
        visual_dim: D, size of a visual embedding.
        num_bins: Rows of the spectrogram that the network sees. Rows above (the Nyquist
            frequency) get the masks of the last one; missing ones are taken as 0.
        channels: Channels of the levels; each level has half the rows and frames of
            the one before.
        blocks: Blocks of a level, on either side of the U-Net and at its bottom.
        convs: 3x3 convolutions of a block.
        reduction: See TFCTDFBlock.
        patch: Rows of the spectrogram that become one row of the first level.
        width: K, maps that the query selects from.
        phase: Whether P_i is estimated too; else the masks are real.
        dropout: In training, the share of the K maps that are 0 in a mixture, and of
            the values of an embedding; against learning the clips by heart.
        profile: Rank of V, which gives a value for each patch of rows; 0 leaves it out.
        competition: Whether the queries of a mixture compete, see above.
        competition_dropout: In training, the share of mixtures in which they do not, so
            that a query of one source out of several learns its mask, too.
        presence: Rank of the bilinear form above; 0 leaves it out.
        presence_frames: Frames of the deepest level on each side whose mean is z.
        presence_scale: a; the larger, the nearer to 0 and 1 are the factors.
        bn_sync: In training over several processes, take the statistics of BatchNorm
            over all of them.
    """

    tiny = {
        "num_bins": 16,
        "channels": [8, 16],
        "blocks": 1,
        "patch": 2,
        "width": 8,
        "phase": False,  # complex logits: see test_tfc_tdf_separator.py
    }

    def __init__(
        self,
        visual_dim: int = 512,
        num_bins: int = 512,
        channels: Sequence[int] = (128, 256, 512),
        blocks: int = 2,
        convs: int = 2,
        reduction: int = 8,
        patch: int = 4,
        width: int = 64,
        phase: bool = True,
        dropout: float = 0.0,
        profile: int = 0,
        competition: bool = False,
        competition_dropout: float = 0.0,
        presence: int = 0,
        presence_frames: int = 4,
        presence_scale: float = 1.0,
        bn_sync: bool = True,
    ):
        super().__init__()
        self.layers = len(channels) - 1
        if self.layers < 1:
            raise ValueError(
                f"channels={list(channels)}: the U-Net needs at least 2 levels."
            )
        if not 0 <= competition_dropout <= 1:
            raise ValueError(
                f"competition_dropout={competition_dropout}: expected a number from 0 "
                "to 1."
            )
        if patch % 2 or num_bins % (patch << self.layers):
            raise ValueError(
                f"num_bins={num_bins}, patch={patch}: num_bins must be a multiple of "
                f"patch * 2 ** {self.layers} (there are {len(channels)} levels), and "
                "patch even."
            )
        self.visual_dim = visual_dim
        self.num_bins = num_bins
        self.patch, self.phase = patch, phase
        self.complex_masks = phase
        self.blocks, self.convs = blocks, convs
        self.competition, self.competition_dropout = competition, competition_dropout
        self.bottleneck_dim = channels[-1]

        def norm(maps: int) -> nn.Module:
            return SourceBatchNorm2d(maps, sync=bn_sync)

        def level(number: int) -> nn.Sequential:
            rows = (num_bins // patch) >> number
            return nn.Sequential(
                *(
                    TFCTDFBlock(channels[number], rows, convs, reduction, bn_sync)
                    for _ in range(blocks)
                )
            )

        self.input_norm = norm(1)
        self.patches = nn.Conv2d(
            1,
            channels[0],
            kernel_size=(3, 2 * patch),
            stride=(1, patch),
            padding=(1, patch // 2),
        )
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for n, (outer, inner) in enumerate(
            zip(channels[:-1], channels[1:], strict=True)
        ):
            self.encoder.append(level(n))
            self.decoder.append(level(n))
            half = nn.Conv2d(outer, inner, 2, stride=2, bias=False)
            relu = nn.ReLU(inplace=True)
            self.down.append(FoldedSequential(half, norm(inner), relu))
            double = nn.ConvTranspose2d(inner, outer, 2, stride=2, bias=False)
            self.up.append(FoldedSequential(double, norm(outer), relu))
        self.bottom = level(self.layers)
        self.maps = FoldedSequential(
            nn.Conv2d(channels[0], width, 1, bias=False), norm(width)
        )
        self.drop_maps = nn.Dropout2d(dropout)
        self.film = nn.Sequential(nn.Dropout(dropout), nn.Linear(visual_dim, 2 * width))
        self.unpatch = nn.Linear(width, patch * (1 + phase))
        if profile:
            rows = num_bins // patch
            self.profile = nn.Sequential(
                nn.Linear(visual_dim, profile), nn.Linear(profile, rows)
            )
            nn.init.normal_(self.profile[1].weight, std=0.02)
            nn.init.zeros_(self.profile[1].bias)
        else:
            self.profile = None
        self.grounds = self.tells_presence = bool(presence)
        self.presence_frames, self.presence_scale = presence_frames, presence_scale
        if presence:
            self.presence_sound = nn.Linear(channels[-1], presence, bias=False)
            self.presence_query = nn.Linear(visual_dim, presence)
            self.presence_bias = nn.Parameter(torch.zeros(1))
            nn.init.normal_(self.presence_query.weight, std=0.01)
            nn.init.zeros_(self.presence_query.bias)
            self.beside_masks = ("presence_",)
        nn.init.normal_(self.unpatch.weight, std=0.02)
        nn.init.zeros_(self.unpatch.bias)
        self.to(memory_format=torch.channels_last)  # a tenth faster, on a CPU

    @property
    def context_frames(self) -> int:
        """Frames on each side that a mask depends on, at most."""
        block = self.blocks * self.convs  # a 3x3 convolution sees one frame more
        frames = block << self.layers
        for n in range(self.layers):
            # Encoder and decoder of a level, and the place within its pair of frames.
            frames += (2 * block + 1) << n
        if self.tells_presence:
            # Through the window of z instead of the decoder, if that sees more.
            decoder = block * (2**self.layers - 1)
            frames += max(0, (self.presence_frames << self.layers) - decoder)
        return frames + 1

    def forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """See AbsAVSeparator.forward; with ``phase``, logits are L_i + i P_i."""
        values, bottleneck = self._values(feature, visual)
        if self.phase:
            return torch.complex(*(value.float() for value in values)), bottleneck
        return values[0], bottleneck

    def real_forward(self, feature: Tensor, visual: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute what forward() does, without complex numbers (for export).

        Returns:
            L_i and, with ``phase``, P_i: (B, N, 1 or 2, F, T); bottleneck (B, C).
        """
        values, bottleneck = self._values(feature, visual)
        return torch.stack(values, dim=2), bottleneck

    def _values(self, feature: Tensor, visual: Tensor) -> Tuple[List[Tensor], Tensor]:
        """Return L_i and, with ``phase``, P_i, (B, N, F, T) each, and the bottleneck.

        In memory their last axis is F, as the spectrum's and the maps': without copies.
        """
        self.check_visual(visual)
        num_rows, num_frames = feature.shape[-2:]
        maps, deepest = self._decode(feature)
        selected = self._select(maps, visual)  # (B, N, T', F', K)
        if self.training:  # one product: its gradient is one pass over the maps
            values = list(self.unpatch(selected).split(self.patch, dim=-1))
        else:  # one for each: nothing is copied
            weights = self.unpatch.weight.split(self.patch)
            biases = self.unpatch.bias.split(self.patch)
            values = [
                F.linear(selected, weight, bias)  # (B, N, T', F', patch)
                for weight, bias in zip(weights, biases, strict=True)
            ]
        if self.profile is not None:
            values[0] = values[0] + self.profile(visual)[:, :, None, :, None]
        values = [value.flatten(3) for value in values]  # (B, N, T', F)
        if self.competition:
            values[0] = self._compete(values[0].float())
        if self.tells_presence and not self.training:
            gate = self._presence_of_frames(deepest, visual)[..., None]
            values[0] = _logit_of_product(values[0].float(), gate)
        values = [value[:, :, :num_frames, :num_rows] for value in values]
        if num_rows > self.num_bins:
            more = num_rows - self.num_bins
            values = [
                torch.cat([value, value[..., -1:].expand(-1, -1, -1, more)], dim=-1)
                for value in values
            ]
        bottleneck = deepest.mean(dim=(-2, -1))
        return [value.transpose(-1, -2) for value in values], bottleneck

    def _select(self, maps: Tensor, visual: Tensor) -> Tensor:
        """Return ReLU(H (1 + gamma) + beta), (B, N, T', F', K).

        Args:
            maps: What the U-Net makes of the mixture, (B, C, T', F').
            visual: (B, N, D).
        """
        gamma, beta = self.film(visual).chunk(2, dim=-1)  # (B, N, K) each
        conv, norm = self.maps
        if self.training or norm.training:
            h = self.maps(maps).permute(0, 2, 3, 1)[:, None]  # (B, 1, T', F', K)
            # A map is dropped by its factor, without a pass over all its values.
            kept = self.drop_maps(h.new_ones(len(h), h.size(-1), 1, 1)).flatten(1)
            factor = ((1 + gamma) * kept[:, None])[:, :, None, None]
            h = torch.addcmul(beta[:, :, None, None], h, factor)
            return F.relu(h, inplace=True)
        # The layer that makes H is linear: a product for each source has it all.
        scale, shift = norm.scale_and_shift()
        weight = (1 + gamma)[..., None] * (scale[:, None] * conv.weight.flatten(1))
        bias = (1 + gamma) * shift + beta
        pixels = maps.permute(0, 2, 3, 1).flatten(1, 2)[:, None]  # (B, 1, T' F', C)
        h = torch.matmul(pixels, weight.transpose(-1, -2)) + bias[:, :, None]
        return F.relu(h, inplace=True).unflatten(2, maps.shape[-2:])

    def presence(self, sounds: Tensor, visual: Tensor) -> Tensor:
        """Return p_i, the logit of "what the query shows is in the sound".

        Args:
            sounds: z of M sounds, (B, M, C), such as forward()'s bottleneck.
            visual: (B, N, D).

        Returns:
            (B, M, N).
        """
        queries = self.presence_query(visual).transpose(1, 2)
        return self.presence_sound(sounds) @ queries + self.presence_bias

    def _presence_of_frames(self, deepest: Tensor, visual: Tensor) -> Tensor:
        """Return a p_i of each frame, (B, N, T'), from (B, C, T'', F'')."""
        side = self.presence_frames
        means = F.avg_pool1d(
            deepest.mean(dim=-1), 2 * side + 1, 1, side, count_include_pad=False
        )
        logits = self.presence(means.transpose(1, 2), visual).transpose(1, 2).float()
        logits = self.presence_scale * logits
        return logits.repeat_interleave(2**self.layers, dim=-1)

    def ground(
        self, feature: Tensor, visual: Tensor, heard: Optional[Tensor] = None
    ) -> Tensor:
        """Tell which queries can be heard in which sounds; see CCoLSeparator.ground."""
        self.check_visual(visual)

        def embed(sounds: Tensor) -> Tensor:
            return self._encode(sounds)[0].mean(dim=(-2, -1))

        def compare(sounds: Tensor) -> Tensor:
            logits = self.presence(sounds, visual)  # (B, M, N)
            return torch.stack([logits, torch.zeros_like(logits)], dim=-1)

        return ground_heard(embed, compare, feature, heard)

    def _compete(self, logits: Tensor) -> Tensor:
        """Logits whose sigmoid is the softmax over the sources and a rest of logit 0.

        Args:
            logits: (B, N, ...).
        """
        # log-odds of the softmax: L_i - log(1 + sum of exp(L_j) over j != i)
        others = F.softplus(_log_sum_of_others(logits))
        if self.training and self.competition_dropout:
            alone = torch.rand(len(logits), device=logits.device)
            alone = alone < self.competition_dropout
            others = others * ~alone.reshape(-1, *[1] * (logits.dim() - 1))
        return logits - others

    def _decode(self, feature: Tensor) -> Tuple[Tensor, Tensor]:
        """First level of the decoder, (B, C, T', F'), and the deepest one's output.

        Nothing of it depends on the query.
        """
        x, skips = self._encode(feature)
        deepest = x
        levels = zip(self.up, self.decoder, skips, strict=True)
        for up, blocks, skip in reversed(list(levels)):
            x = blocks(up(x) * skip)
        return x, deepest

    def _encode(self, feature: Tensor) -> Tuple[Tensor, List[Tensor]]:
        """Deepest level (B, C, T'', F''), and the skips of the others."""
        x = self.input_norm(feature[:, :, : self.num_bins])
        frames, stride = x.size(-1), 2**self.layers
        whole = (frames + stride - 1) // stride * stride  # as the exporter wants it
        missing = (0, whole - frames, 0, self.num_bins - x.size(-2))
        x = F.pad(x, missing).transpose(-1, -2)  # (B, 1, T', num_bins)
        x = self.patches(x.contiguous(memory_format=torch.channels_last))
        x = F.relu(x, inplace=True)
        skips: List[Tensor] = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            skips.append(blocks(x))
            x = down(skips[-1])
        return self.bottom(x), skips


def _log_sum_of_others(logits: Tensor) -> Tensor:
    """Return log(sum of exp(L_j) over j != i) for each i of (B, N, ...)."""
    sources = logits.size(1)
    if torch.compiler.is_exporting():  # to a graph in which N is free
        own = torch.eye(sources, dtype=torch.bool, device=logits.device)
        own = own.reshape(1, *own.shape, *[1] * (logits.dim() - 2))
        return logits[:, None].masked_fill(own, _NOTHING).logsumexp(dim=2)
    if sources == 1:
        return torch.full_like(logits, _NOTHING)
    shifted = (logits.roll(number, dims=1) for number in range(1, sources))
    return functools.reduce(torch.logaddexp, shifted)


def _logit_of_product(one: Tensor, other: Tensor) -> Tensor:
    """Return the logit of sigmoid(one) * sigmoid(other)."""
    # 1 / product - 1 = exp(-other) + exp(-one) (1 + exp(-other))
    return -torch.logaddexp(-other, F.softplus(-other) - one)
