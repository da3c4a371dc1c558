"""The ESPnet model around separators from waveform to waveform."""

from typing import Callable, Dict, Tuple

import torch
from torch import Tensor

from espnet2_avsep.errors import InputError
from espnet2_avsep.loss.abs_criterion import SeparationOutput
from espnet2_avsep.model.espnet_model import ESPnetAVSeparationModel


class ESPnetAVWaveModel(ESPnetAVSeparationModel):
    """Mixture -> tracks; spectrograms are only for pictures and spectral losses.

    The "mask" of such a separator is the quotient of its track's magnitude and the
    mixture's, so that mask times mixture is the track's magnitude; there are no logits.
    Arguments are those of ESPnetAVSeparationModel; compression and mask_max do nothing.
    """

    def _run(
        self,
        mixture: Tensor,
        reference: Tensor,
        visual: Tensor,
        conditions: Dict[str, Tensor],
    ) -> Tuple[SeparationOutput, Callable[[], Tensor]]:
        with self._autocast(mixture.device.type):
            tracks, bottleneck = self._tracks(mixture, visual, conditions)
        if self._only_tracks():
            mask = mix = own = None
        else:
            waves = torch.cat([mixture[:, None], reference, tracks], dim=1)
            magnitude = self.warp(self._spectrum(waves).abs())
            number = reference.size(1)
            mix, own = magnitude[:, :1], magnitude[:, 1 : 1 + number]
            mask = magnitude[:, 1 + number :] / (mix + self.log_eps)
        output = SeparationOutput(
            logits=mask,
            mask=mask,
            mixture=mix,
            reference=own,
            bottleneck=bottleneck,
            tracks=tracks,
            sources=reference,
        )
        return output, lambda: tracks

    @torch.no_grad()
    def separate(
        self,
        mixture: Tensor,
        visual: Tensor,
        binary_mask: bool = False,
        threshold: float = 0.5,
        **conditions: Tensor,
    ) -> Tuple[Tensor, Tensor]:
        """Separate mixtures; see ESPnetAVSeparationModel.separate.

        Raises:
            InputError: binary masks are asked for.
        """
        if binary_mask:
            raise InputError(
                "binary_mask is true, but this separator gives waveforms and has no "
                "masks to round; leave --binary_mask out."
            )
        tracks, _ = self._tracks(mixture, visual, conditions)
        magnitude = self._spectrum(torch.cat([mixture[:, None], tracks], dim=1)).abs()
        magnitude = self.warp(magnitude)
        return tracks, magnitude[:, 1:] / (magnitude[:, :1] + self.log_eps)

    @torch.no_grad()
    def separate_channels(
        self,
        mixture: Tensor,
        visual: Tensor,
        binary_mask: bool = False,
        threshold: float = 0.5,
        **conditions: Tensor,
    ) -> Tensor:
        """Separate (B, C, L), each channel by itself: there is no mask to share.

        See ESPnetAVSeparationModel.separate_channels.
        """
        tracks = [
            self.separate(channel, visual, binary_mask, threshold, **conditions)[0]
            for channel in mixture.unbind(dim=1)
        ]
        return torch.stack(tracks, dim=2)

    @torch.no_grad()
    def embed(self, mixture: Tensor, visual: Tensor, **conditions: Tensor) -> Tensor:
        """Embed mixtures; see ESPnetAVSeparationModel.embed."""
        _, bottleneck = self._tracks(mixture, visual, conditions)
        return bottleneck

    def _tracks(
        self, mixture: Tensor, visual: Tensor, conditions: Dict[str, Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """Tracks (B, N, L) and bottleneck, in float32."""
        visual = self.visual_adapter(visual)
        if not torch.is_autocast_enabled(mixture.device.type):
            # The network's precision, where it is not float32 (inference in bfloat16).
            visual = visual.to(next(self.separator.parameters()).dtype)
        tracks, bottleneck = self.separator(mixture, visual, **conditions)
        return tracks.float(), bottleneck.float()
