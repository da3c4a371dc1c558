"""The separator of Sound of Motions: trajectories modulate the U-Net's bottleneck."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet2_avsep.dsp.log_frequency import pad_to_multiple
from espnet2_avsep.layers.batch_norm import SourceBatchNorm2d
from espnet2_avsep.layers.initialisation import initialise
from espnet2_avsep.layers.trajectory import flow_grid, split_rows, trajectories
from espnet2_avsep.layers.unet import UNetDecoder, UNetEncoder, level_widths
from espnet2_avsep.separator.abs_separator import AbsAVSeparator


class SoundOfMotionsSeparator(AbsAVSeparator):
    """U-Net with FiLM at its bottleneck, whose factors follow the motion in time.

    Zhao, Gan, Ma, Torralba, "The Sound of Motions", ICCV 2019. With the trajectory
    features T (K maps over time) and the appearance features A of a picture,

        V   = Conv([T * sigmoid(conv(A)), A])        attention, one channel
        f_v = max over places of V                   (S steps, K)
        y   = (1 + gamma(f_v)) * bottleneck + beta(f_v)   each column with its own steps

    Notes:
        There is no released code. Adapted: the paper's I3D is a small network of 3-D
        convolutions here. The bottleneck has few columns, so all the steps that belong
        to a column, ``steps_per_column`` of them, enter its gamma and beta together;
        nothing is averaged over time.

    Args:
        visual_dim: Size of the appearance features of a source: C maps of places x
            places values, flattened.
        places: Side of these maps.
        motion_dim: Size of a row of optical flow, 2 * grid ** 2 + 1.
        window: Steps of a trajectory; longer segments have several, one after the
            other. (24 pictures in the paper: 3 s at 8 a second.)
        displacement_scale: Factor of the displacements, which are fractions of the
            picture's sides.
        motion_channels: K.
        motion_levels: Convolutions over places that halve the grid, each followed by
            one over time.
        steps_per_column: Steps of motion of each column of the bottleneck.
        channels: Channels of the U-Net's first level; each level doubles, at most 8
            times it.
        layers: Levels of the U-Net.
        bn_statistics: BatchNorm statistics of what the sources differ in; see
            SourceBatchNorm2d.
        initialisation: Initial weights of the U-Net: null (torch's own) or one of
            layers.initialisation.INITIALISATIONS.
    """

    needs_motion = True
    needs_flow = True
    # Flow on a grid of 2 x 2 places has 9 values a step.
    tiny = {
        "channels": 4,
        "layers": 3,
        "places": 1,
        "motion_dim": 9,
        "motion_channels": 8,
    }

    def __init__(
        self,
        visual_dim: int = 1568,
        places: int = 7,
        motion_dim: int = 1569,
        window: int = 24,
        displacement_scale: float = 10.0,
        motion_channels: int = 64,
        motion_levels: int = 2,
        steps_per_column: int = 8,
        channels: int = 64,
        layers: int = 6,
        bn_statistics: str = "per_source",
        initialisation: Optional[str] = None,
    ):
        super().__init__()
        for name, value in (
            ("places", places),
            ("window", window),
            ("motion_channels", motion_channels),
            ("motion_levels", motion_levels),
            ("steps_per_column", steps_per_column),
        ):
            if value < 1:
                raise ValueError(f"{name}={value}: expected at least 1.")
        if visual_dim % places**2:
            raise ValueError(
                f"visual_dim={visual_dim}: expected a multiple of places ** 2 = "
                f"{places**2}, for it holds maps of {places} x {places} values."
            )
        flow_grid(motion_dim)
        widths = level_widths(channels, layers)
        self.visual_dim, self.motion_dim = visual_dim, motion_dim
        self.places, self.window = places, window
        self.displacement_scale = displacement_scale
        self.steps_per_column = steps_per_column
        self.layers = layers
        self.bottleneck_dim = widths[-1]

        self.encoder = UNetEncoder(widths)
        self.decoder = UNetDecoder(widths, queried=False, statistics=bn_statistics)
        for network in (self.encoder, self.decoder):
            initialise(network, initialisation)
        sizes = [2] + [motion_channels] * motion_levels
        self.over_places = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=2, bias=False)
            for before, after in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.norms = nn.ModuleList(
            SourceBatchNorm2d(size, bn_statistics) for size in sizes[1:]
        )
        self.over_time = nn.ModuleList(
            nn.Conv1d(size, size, kernel_size=3, padding=1) for size in sizes[1:]
        )
        maps = visual_dim // places**2
        self.attention = nn.Conv2d(maps, 1, kernel_size=1)
        self.appearance = nn.Conv2d(maps, motion_channels, kernel_size=1)
        self.fusion = nn.Sequential(
            nn.Conv2d(2 * motion_channels, motion_channels, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(motion_channels, motion_channels, kernel_size=1),
        )
        told = motion_channels * steps_per_column
        self.gamma = nn.Linear(told, widths[-1])
        self.beta = nn.Linear(told, widths[-1])

    def forward(
        self,
        feature: Tensor,
        visual: Tensor,
        motion: Optional[Tensor] = None,
        motion_lengths: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """Compute the mask logits of every source; see AbsAVSeparator.forward.

        Args:
            feature: Mixture feature, (B, 1, F, T).
            visual: Appearance features of each source, (B, N, visual_dim).
            motion: Rows of optical flow over the time of the mixture, (B, N, S,
                motion_dim).
            motion_lengths: Rows of each that are no padding, (B, N).

        Raises:
            ValueError: motion is missing or does not fit.
        """
        self.check_visual(visual)
        motion = self.check_motion(motion, motion_lengths)
        lengths = motion_lengths
        if lengths is None:
            lengths = torch.full(motion.shape[:2], motion.size(2), device=motion.device)
        padded, (num_bins, num_frames) = pad_to_multiple(feature, 2**self.layers)
        features = self.encoder(padded)
        bottleneck = features[-1]  # (B, W, F', T')
        codes = self.motion_codes(visual, motion, lengths)  # (N * B, K, S)
        share = padded.size(-1) / num_frames
        told = self._of_columns(codes, lengths.T.flatten(), bottleneck.size(-1), share)
        gamma, beta = (
            layer(told).transpose(1, 2)[:, :, None] for layer in (self.gamma, self.beta)
        )  # (N * B, W, 1, T')
        num_sources = visual.size(1)
        x = bottleneck.repeat(num_sources, 1, 1, 1) * (1 + gamma) + beta
        logits = self.decoder(features, bottleneck=x.unflatten(0, (num_sources, -1)))
        pooled = bottleneck.mean(dim=(-2, -1))
        return logits.transpose(0, 1)[..., :num_bins, :num_frames], pooled

    def motion_codes(self, visual: Tensor, motion: Tensor, lengths: Tensor) -> Tensor:
        """Return f_v, (N * B, K, S), source by source; arguments as of forward()."""
        num_sources, steps = motion.size(1), motion.size(2)
        rows = motion.transpose(0, 1).flatten(0, 1)  # (M, S, D), M = N * B
        valid = torch.arange(steps, device=rows.device) < lengths.T.flatten()[:, None]
        rows = rows * valid[..., None]
        x = trajectories(*split_rows(rows), self.window) * self.displacement_scale
        x = x.flatten(0, 1)  # (M * S, 2, G, G)
        for conv, norm, over_time in zip(
            self.over_places, self.norms, self.over_time, strict=True
        ):
            # Padded here: in bfloat16 on CPUs, the gradient of a weight that meets
            # nothing but a convolution's own padding is not set (torch 2.11).
            x = conv(F.pad(x, (1, 1, 1, 1)))
            x = F.relu(norm(x, num_sources, valid.flatten()))
            x = _along_time(over_time, x, valid)
        # Of the appearance, a map of each step's size.
        maps = visual.transpose(0, 1).flatten(0, 1)
        maps = maps.unflatten(1, (-1, self.places, self.places))
        maps = F.interpolate(
            maps, x.shape[-2:], mode="bilinear", align_corners=False
        ).repeat_interleave(steps, dim=0)
        x = x * self.attention(maps).sigmoid()
        x = self.fusion(torch.cat([F.relu(x), self.appearance(maps)], dim=1))
        return x.amax(dim=(-2, -1)).unflatten(0, (-1, steps)).transpose(1, 2)

    def _of_columns(
        self, codes: Tensor, lengths: Tensor, columns: int, share: float
    ) -> Tensor:
        """Cut codes into the steps of each column, at evenly spread times.

        Args:
            codes: (M, K, S).
            lengths: Steps that are no padding, (M,); they cover the mixture.
            columns: T', columns of the bottleneck.
            share: Time that the columns cover, in lengths of the mixture.

        Returns:
            (M, T', K * steps_per_column).
        """
        count = columns * self.steps_per_column
        times = (torch.arange(count, device=codes.device) + 0.5) / count * share
        last = (lengths - 1)[:, None]
        places = (times * lengths[:, None] - 0.5).clamp(min=0)
        places = torch.minimum(places, last.to(places))  # (M, count)
        before = places.floor().long()
        after = torch.minimum(before + 1, last)
        part = (places - before).to(codes)[:, None]

        def at(index: Tensor) -> Tensor:
            return codes.gather(2, index[:, None].expand(-1, codes.size(1), -1))

        values = at(before) * (1 - part) + at(after) * part  # (M, K, count)
        values = values.unflatten(2, (columns, self.steps_per_column))
        return values.permute(0, 2, 1, 3).flatten(2)


def _along_time(conv: nn.Conv1d, x: Tensor, valid: Tensor) -> Tensor:
    """Convolve (M * S, C, h, w) over its S steps, those that are padding zero.

    Args:
        conv: The convolution.
        x: The maps.
        valid: Which steps are no padding, (M, S).
    """
    size = x.shape[1:]
    x = x * valid.flatten()[:, None, None, None]
    x = x.unflatten(0, valid.shape).permute(0, 3, 4, 2, 1)  # (M, h, w, C, S)
    x = conv(x.flatten(0, 2)).unflatten(0, (-1, *size[1:]))
    return x.permute(0, 4, 3, 1, 2).flatten(0, 1)
