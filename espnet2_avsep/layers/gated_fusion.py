"""Fusion of a map of the mixture with what is seen of each source."""

from typing import Optional, Tuple

from torch import Tensor, nn

GATES = ("dynamic", "multiply", "none")


class GatedFusion(nn.Module):
    """Multiply audio by visual features, as far as a learned gate lets them through.

    Yu and Sun, "DGFNet: End-to-End Audio-Visual Source Separation Based on Dynamic
    Gating Fusion", ICMR 2025, section 3.3. With the map F_a of the mixture and the
    embedding e_i of source i,

        F_av = Proj(e_i) * F_a
        sigma = sigmoid(conv1x1(F_av) + conv1x1'(F_a))        one value a position
        F_d = sigma * F_av + (1 - sigma) * F_a

    Notes:
        The released code replaces F_d by F_av, so that its gate never learns: that is
        ``gate: multiply`` here.
        Proj is a linear layer; the paper has features of equal width or does not say.

    Args:
        channels: C, channels of the map.
        visual_dim: D, size of an embedding.
        gate: "dynamic", or "multiply" (sigma = 1, without the convolutions).
    """

    def __init__(self, channels: int, visual_dim: int, gate: str = "dynamic"):
        super().__init__()
        if gate not in GATES[:-1]:
            raise ValueError(f"gate={gate!r}: expected one of {GATES[:-1]}.")
        self.projection = nn.Linear(visual_dim, channels)
        self.fused_conv = self.audio_conv = None
        if gate == "dynamic":
            self.fused_conv = nn.Conv2d(channels, 1, kernel_size=1)
            self.audio_conv = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(self, audio: Tensor, visual: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        """Fuse.

        Args:
            audio: Map of the mixture, (B, C, H, W).
            visual: Embedding of each source, (N, B, D).

        Returns:
            F_d of each source, (N * B, C, H, W), source by source, and sigma,
            (N, B, H, W), or None where there is no gate.
        """
        fused = self.projection(visual)[..., None, None] * audio  # (N, B, C, H, W)
        if self.fused_conv is None:
            return fused.flatten(0, 1), None
        gate = self.fused_conv(fused.flatten(0, 1)).unflatten(0, visual.shape[:2])
        gate = (gate + self.audio_conv(audio)).sigmoid()  # (N, B, 1, H, W)
        fused = gate * fused + (1 - gate) * audio
        return fused.flatten(0, 1), gate[:, :, 0]
