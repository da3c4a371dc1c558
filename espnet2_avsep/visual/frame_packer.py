"""Pictures kept as pictures: scaled, cropped to a square and compressed."""

from typing import Iterable, Sequence

import numpy as np

from espnet2_avsep.data.frame_store import PackedFrames, encode_jpeg
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.picture import Resize, read_image
from espnet2_avsep.visual.encoders.preprocessing import Preprocessing


class FramePacker:
    """What stands where a FrameEncoder would, for networks trained on the pictures.

    Args:
        size: Side of the squares in pixels.
        jpeg_quality: 1 to 95.

    Raises:
        InputError: a value out of range.
    """

    def __init__(self, size: int = 268, jpeg_quality: int = 90):
        if size < 1:
            raise InputError(f"--visual_size {size}: at least 1 pixel was expected.")
        if not 1 <= jpeg_quality <= 95:
            raise InputError(f"--jpeg_quality {jpeg_quality}: expected 1 to 95.")
        self.preprocessing = Preprocessing(
            resize=Resize((size, size), "shortest", "bicubic"), crop=(size, size)
        )
        self.jpeg_quality = jpeg_quality
        self.info = {"encoder": "frames", "size": size, "jpeg_quality": jpeg_quality}

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Scale and crop a picture (H, W, 3), uint8, to (size, size, 3)."""
        return self.preprocessing.fit(image)

    def pack(self, images: Iterable[np.ndarray]) -> PackedFrames:
        """Compress pictures that :meth:`fit` returned."""
        jpegs = [encode_jpeg(image, self.jpeg_quality) for image in images]
        return PackedFrames(jpegs, *self.preprocessing.crop)

    def encode(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Bring pictures of any size to what the network sees: (n, 3, size, size)."""
        fitted = [self.fit(read_image(image)) for image in images]
        return np.stack(fitted).transpose(0, 3, 1, 2)
