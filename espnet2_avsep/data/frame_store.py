"""Pictures of many clips in one file: packed JPEGs of one size, read one by one.

For networks that are trained on the pictures themselves. A clip's record stands where a
Kaldi matrix of embeddings would stand in an ark, so that tables refer to it in the same
way (``file:offset``):

    5 bytes   mark
    3 uint32  number of frames n, height, width
    n + 1 uint64  where each JPEG begins, counted from the end of this list, and the end
    the JPEGs

All numbers are little endian. A frame is read with two calls that seek to it.
"""

import io
import os
import struct
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.picture import read_image

MARK = b"\0AVF "
_SIZES = struct.Struct("<III")
_HEAD = len(MARK) + _SIZES.size


class PackedFrames(NamedTuple):
    """The pictures of a clip, as JPEG files of one size.

    Attributes:
        jpegs: The files' contents.
        height: Of the pictures, in pixels.
        width: Of the pictures, in pixels.
    """

    jpegs: Sequence[bytes]
    height: int
    width: int

    @property
    def shape(self) -> Tuple[int, int, int, int]:
        """Shape (n, 3, H, W) of the decoded frames."""
        return len(self.jpegs), 3, self.height, self.width

    def to_bytes(self) -> bytes:
        """Return the record."""
        ends = np.cumsum([0, *(len(jpeg) for jpeg in self.jpegs)])
        head = MARK + _SIZES.pack(len(self.jpegs), self.height, self.width)
        return b"".join([head, ends.astype("<u8").tobytes(), *self.jpegs])


def encode_jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """Compress a picture (H, W, 3), uint8, RGB; the same bytes for the same picture."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality)
    return content.getvalue()


def is_frames(head: bytes) -> bool:
    """Tell from its first bytes whether a record holds packed frames."""
    return head.startswith(MARK)


def frames_shape(ref: str, head: bytes) -> Tuple[int, int, int, int]:
    """Return (n, 3, H, W) from the first bytes of a record.

    Raises:
        InputError: the record is cut off.
    """
    if len(head) < _HEAD:
        raise _cut_off(ref)
    count, height, width = _SIZES.unpack_from(head, len(MARK))
    return count, 3, height, width


def read_jpegs(ref: str, handle: int, offset: int, rows: Sequence[int]) -> PackedFrames:
    """Read single frames of a record without decoding them.

    Args:
        ref: For messages.
        handle: Open file.
        offset: Where the record begins.
        rows: Numbers of frames that the record has.

    Raises:
        InputError: the file ends within the record.
    """
    count, _, height, width = frames_shape(ref, os.pread(handle, _HEAD, offset))
    base = offset + _HEAD + 8 * (count + 1)
    jpegs: List[bytes] = []
    for row in rows:
        where = os.pread(handle, 16, offset + _HEAD + 8 * row)
        if len(where) < 16:
            raise _cut_off(ref)
        begin, end = struct.unpack("<QQ", where)
        jpeg = os.pread(handle, end - begin, base + begin)
        if len(jpeg) < end - begin:
            raise _cut_off(ref)
        jpegs.append(jpeg)
    return PackedFrames(jpegs, height, width)


def decode(ref: str, frames: PackedFrames) -> np.ndarray:
    """Decode packed frames to (n, 3, H, W), uint8, RGB.

    Raises:
        InputError: a frame is damaged or has another size than the record says.
    """
    images = np.empty(frames.shape, np.uint8)
    for n, jpeg in enumerate(frames.jpegs):
        try:
            image = read_image(jpeg)
            if image.shape[:2] != frames.shape[2:]:
                raise ClipError(
                    ref, f"its size is {image.shape[:2]}, not {frames.shape[2:]}"
                )
        except ClipError as error:
            raise InputError(
                f"{ref}: frame {n} of those asked for cannot be decoded "
                f"({error.reason}); run stage 2 again."
            ) from error
        images[n] = image.transpose(2, 0, 1)
    return images


def crop_and_flip(
    frames: np.ndarray, size: int, flip: bool, rng: np.random.Generator
) -> np.ndarray:
    """Cut the same random square out of all frames, and mirror them or not.

    Args:
        frames: (V, 3, H, W).
        size: Side of the square; 0 keeps the frames whole.
        flip: Whether they are mirrored in half of the cases.
        rng: Draws the place, then the mirroring.

    Returns:
        (V, 3, size, size), contiguous.

    Raises:
        InputError: the frames are smaller than the square.
    """
    if size:
        height, width = frames.shape[-2:]
        if min(height, width) < size:
            raise InputError(
                f"frame_crop is {size}, but the frames have {height} x {width} pixels; "
                f"pack larger ones (stage 2, --visual_size), or crop to at most "
                f"{min(height, width)}."
            )
        top = int(rng.integers(height - size + 1))
        left = int(rng.integers(width - size + 1))
        frames = frames[..., top : top + size, left : left + size]
    if flip and rng.integers(2):
        frames = frames[..., ::-1]
    return np.ascontiguousarray(frames)


def jitter(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Change the brightness and then the saturation of all frames alike.

    Args:
        frames: (V, 3, H, W), uint8, RGB.
        strength: Both factors are drawn from [1 - strength, 1 + strength].
        rng: Draws the brightness, then the saturation.

    Returns:
        (V, 3, H, W), uint8.
    """
    brightness, saturation = rng.uniform(1 - strength, 1 + strength, size=2)
    values = np.clip(frames * np.float32(brightness), 0, 255)
    gray = np.tensordot(np.float32([0.299, 0.587, 0.114]), values, axes=(0, 1))
    gray = gray[:, None]
    values = gray + np.float32(saturation) * (values - gray)
    return np.clip(values, 0, 255).round().astype(np.uint8)


def _cut_off(ref: str) -> InputError:
    return InputError(
        f"{ref}: the file ends within the packed frames; run stage 2 again."
    )
