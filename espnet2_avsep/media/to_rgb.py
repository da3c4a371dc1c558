"""From the decoded frames of a video to 8-bit RGB as a player shows it."""

from fractions import Fraction
from typing import Optional

import numpy as np

from espnet2_avsep.media.orientation import TRANSPOSED, orientation_of, upright
from espnet2_avsep.media.picture import GROUND, Resize, scale

# Pixels longer or wider than this are an error of the file.
_MAX_ASPECT = 10


def pixel_aspect(stream: "av.video.stream.VideoStream") -> Fraction:  # noqa: F821
    """Return a pixel's width by its height; 1 where it is not stated."""
    aspect = stream.sample_aspect_ratio
    if not aspect or not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT:
        return Fraction(1)
    return aspect


def has_alpha(frame: "av.VideoFrame") -> bool:  # noqa: F821
    """Tell whether parts of a frame may be transparent."""
    return any(component.is_alpha for component in frame.format.components)


class ToRGB:
    """Scales frames, converts them to RGB and turns them upright.

    Without further flags, FFmpeg's scaler takes short cuts: colours become up to 1.8 of
    255 levels darker. With FULL_CHR_H_INT and ACCURATE_RND, the mean is exact.

    Args:
        resize: Size to scale to; None keeps the size. A picture that would become huge
            (a very long one) keeps its size.
        aspect: Width of a pixel by its height.
    """

    def __init__(self, resize: Optional[Resize] = None, aspect: Fraction = Fraction(1)):
        from av.video.reformatter import Interpolation, VideoReformatter

        self.resize = resize
        self.aspect = aspect
        self._reformatter = VideoReformatter()  # keeps its filters between pictures
        self._kind = "bicubic" if resize is None else resize.interpolation
        exact = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
        self._interpolation = Interpolation[self._kind.upper()] | exact

    def __call__(self, frame: "av.VideoFrame") -> np.ndarray:  # noqa: F821
        """Return a picture (H, W, 3), uint8, contiguous."""
        orientation = orientation_of(frame)
        size = (frame.height, max(1, round(frame.width * self.aspect)))
        if orientation in TRANSPOSED:
            size = size[::-1]
        if self.resize is not None and not self.resize.is_huge(*size):
            size = self.resize.target(*size)
        if orientation in TRANSPOSED:
            size = size[::-1]
        if has_alpha(frame):
            # Scaled first, hidden colours would leak into their neighbours.
            image = scale(_on_ground(self._convert(frame, "rgba")), size, self._kind)
        else:
            image = self._convert(frame, "rgb24", *size)
        return np.ascontiguousarray(upright(image, orientation))

    def _convert(self, frame, pixels: str, height: int = 0, width: int = 0):
        converted = self._reformatter.reformat(
            frame,
            width=width or frame.width,
            height=height or frame.height,
            format=pixels,
            interpolation=self._interpolation,
            threads=1,
        )
        return converted.to_ndarray()


def _on_ground(image: np.ndarray) -> np.ndarray:
    """Put a picture (H, W, 4) on the ground that shows where it is transparent."""
    colour, alpha = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
    return ((colour * alpha + GROUND * (255 - alpha) + 127) // 255).astype(np.uint8)
