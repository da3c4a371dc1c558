"""What an encoder expects of its pictures; without torch."""

from typing import NamedTuple, Tuple

import numpy as np

from espnet2_avsep.media.picture import Resize, scale


class Preprocessing(NamedTuple):
    """What an encoder expects of its input.

    Attributes:
        resize: How pictures are scaled.
        crop: Height and width of the input in pixels; what is larger is cropped around
            its centre, what is smaller is padded.
        mean: Subtracted per channel, of values in [0, 1].
        std: Divided by per channel.
        fill: Value of padded pixels, 0-255.
    """

    resize: Resize
    crop: Tuple[int, int]
    mean: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: Tuple[float, float, float] = (1.0, 1.0, 1.0)
    fill: int = 0

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Scale a picture where it does not have the right size yet, and crop it.

        Args:
            image: (H, W, 3), uint8, RGB.

        Returns:
            (crop height, crop width, 3), uint8.
        """
        target = self.resize.target(*image.shape[:2])
        image = scale(image, target, self.resize.interpolation, keep=self.crop)
        return _centre(image, self.crop, self.fill)

    def squeezed(self) -> "Preprocessing":
        """Return what scales all of a picture to the input, whatever its shape."""
        return self._replace(resize=Resize(self.crop, "squash"))


def _centre(image: np.ndarray, size: Tuple[int, int], fill: int) -> np.ndarray:
    """Crop or pad a picture (H, W, 3) around its centre (torchvision's rounding)."""
    height, width = image.shape[:2]
    pad_h, pad_w = max(0, size[0] - height), max(0, size[1] - width)
    if pad_h or pad_w:
        image = np.pad(
            image,
            (
                (pad_h // 2, pad_h - pad_h // 2),
                (pad_w // 2, pad_w - pad_w // 2),
                (0, 0),
            ),
            constant_values=fill,
        )
        height, width = image.shape[:2]
    top = round((height - size[0]) / 2.0)
    left = round((width - size[1]) / 2.0)
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])
