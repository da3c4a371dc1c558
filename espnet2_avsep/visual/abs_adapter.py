"""What every visual adapter offers."""

from abc import ABC, abstractmethod
from typing import Any, Dict, Mapping

from torch import Tensor, nn


class AbsVisualAdapter(nn.Module, ABC):
    """What the dataset gives of each source -> one embedding per source.

    Attributes:
        takes_frames: Whether it takes pictures, not embeddings of a frozen encoder.
        tiny: Arguments for tests of all adapters; with takes_frames, for pictures of
            64 x 64 pixels, else for embeddings of 4 values.
    """

    takes_frames: bool = False
    tiny: Mapping[str, Any] = {}

    @abstractmethod
    def forward(self, visual: Tensor) -> Tensor:
        """Reduce (B, N, V, D), with takes_frames (B, N, V, 3, H, W), to (B, N, K)."""

    def load_pretrained(self) -> None:  # noqa: B027
        """Load weights that training begins with, where there are any."""

    @classmethod
    def small_conf(cls, conf: Mapping[str, Any]) -> Dict[str, Any]:
        """Return arguments that need no download and little time on a CPU.

        Args:
            conf: Arguments of the full adapter (visual_adapter_conf).
        """
        return dict(conf)
