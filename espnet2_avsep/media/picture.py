"""The one reader of still pictures: gives 8-bit RGB as a viewer shows it.

It reads files, files in memory, PIL images and arrays. What comes out is turned and
mirrored as the EXIF orientation says, deep grey (16 bits, floats) is scaled to 8 bits
instead of clipped, and what is transparent shows a grey ground instead of the colours
that are hidden under it. Everything else equals ``PIL.Image.convert("RGB")``; colour
profiles are not applied, as in open_clip's and torchvision's preprocessing.
"""

import io
import math
import os
import warnings
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional, Tuple, Union

import numpy as np

from espnet2_avsep.media.container import ClipError, PathLike, first_line
from espnet2_avsep.media.orientation import UPRIGHT, upright

# What a picture may have, so that reading one takes less than 0.6 GB. Of larger JPEGs,
# up to the second number, every second, fourth or eighth pixel is decoded.
MAX_PIXELS = 50_000_000
MAX_JPEG_PIXELS = 130_000_000
# What shows under transparent pixels, 0-255.
GROUND = 128
# Neither those that run a program (EPS) nor those of vectors and of scientific data.
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000")
_FORMATS += ("AVIF", "HEIF", "TGA", "ICO", "DIB")
_BAND_PIXELS = 1 << 22
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 0x112, 258, 262, 339
_SIGNED = 2
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")

Picture = Union[str, "os.PathLike[str]", bytes, "PIL.Image.Image", np.ndarray]  # noqa: F821


class Resize(NamedTuple):
    """How a picture is brought to the size that an encoder wants, before its crop.

    Attributes:
        size: Height and width of the encoder's input in pixels.
        mode: "shortest" scales the picture until it covers ``size``, "longest" until
            it fits in, "squash" gives up its aspect ratio.
        interpolation: "bicubic" or "bilinear", both low-pass filtered when shrinking.
    """

    size: Tuple[int, int] = (224, 224)
    mode: str = "shortest"
    interpolation: str = "bicubic"

    def target(self, height: int, width: int) -> Tuple[int, int]:
        """Return the height and width to scale a picture to (open_clip's rounding)."""
        if self.mode == "squash":
            return self.size
        if self.mode == "shortest" and self.size[0] == self.size[1]:
            side = self.size[0]
            if height <= width:
                return side, int(side * width / height)
            return int(side * height / width), side
        ratios = (height / self.size[0], width / self.size[1])
        ratio = max(ratios) if self.mode == "longest" else min(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def is_huge(self, height: int, width: int) -> bool:
        """Tell whether a scaled picture, a very long one, is too large to be kept."""
        return math.prod(self.target(height, width)) > MAX_PIXELS


def read_image(
    source: Picture, resize: Optional[Resize] = None, name: Optional[str] = None
) -> np.ndarray:
    """Read a still picture.

    Args:
        source: The path of a file, the content of a file, a PIL image, or an array
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8 or uint16.
        resize: Size to scale to; None keeps the picture's size. A picture that would
            become huge (a very long one) keeps its size.
        name: What errors call the picture; None: its path.

    Returns:
        (H, W, 3), uint8, RGB, contiguous.

    Raises:
        ClipError: missing, unreadable, of no known kind or too large.
    """
    from PIL import Image

    if name is None:
        is_path = isinstance(source, (str, os.PathLike))
        name = str(source) if is_path else "picture"
    try:
        if isinstance(source, Image.Image):
            image = _from_pil(source, name)
        elif isinstance(source, (str, os.PathLike, bytes)):
            image = _from_file(source, name)
        else:
            image = _from_array(np.asarray(source), name)
    except ClipError:
        raise
    except Exception as error:  # decoders raise nearly every type on damaged files
        raise ClipError(
            name,
            f"unreadable image ({first_line(error)})",
            "A picture such as .jpg or .png was expected; fetch it again.",
        ) from error
    height, width = image.shape[:2]
    if resize is not None and not resize.is_huge(height, width):
        image = scale(image, resize.target(height, width), resize.interpolation)
    return image


def picture_size(path: PathLike) -> Dict[str, int]:
    """Return width and height of a picture that we wrote; no pixel is decoded."""
    from PIL import Image

    with Image.open(path) as image:
        return {"width": image.width, "height": image.height}


def scale(
    image: np.ndarray,
    size: Tuple[int, int],
    interpolation: str = "bicubic",
    keep: Optional[Tuple[int, int]] = None,
) -> np.ndarray:
    """Scale a picture as PIL does, with a low-pass filter when shrinking.

    Args:
        image: (H, W, 3), uint8.
        size: Height and width to scale to.
        interpolation: "bicubic" or "bilinear".
        keep: Height and width of what is needed of the result, around its centre. Only
            where the whole result would be huge, no more than that is computed.

    Returns:
        (height, width, 3), uint8; of a huge result, what is to be kept.
    """
    from PIL import Image

    if image.shape[:2] == tuple(size):
        return np.ascontiguousarray(image)
    box = None
    if keep is not None and math.prod(size) > MAX_PIXELS:
        spans = [_span(*axis) for axis in zip(image.shape[:2], size, keep, strict=True)]
        (rows, top, bottom, height), (columns, left, right, width) = spans
        image, box = image[rows, columns], (left, top, right, bottom)
        size = (height, width)
    kind = Image.Resampling[interpolation.upper()]
    scaled = Image.fromarray(np.ascontiguousarray(image))
    return np.array(scaled.resize(size[::-1], kind, box))


def _span(have: int, target: int, keep: int) -> Tuple[slice, float, float, int]:
    """Find the pixels that the centre of a scaled axis is made from.

    Returns:
        The pixels; begin and end of the centre, counted from the first of them; its
        scaled length.
    """
    keep = min(keep, target)
    first = round((target - keep) / 2.0)  # as for a crop around the centre
    step = have / target
    begin, end = first * step, (first + keep) * step
    margin = 2 * max(1.0, step) + 1  # what a bicubic filter reaches
    low, high = max(0, int(begin - margin)), min(have, math.ceil(end + margin))
    return slice(low, high), begin - low, end - low, keep


def check_pixels(width: int, height: int, name: PathLike) -> None:
    """Raise where a picture has more pixels than are read.

    Raises:
        ClipError: it has.
    """
    if width * height > MAX_PIXELS:
        raise ClipError(
            name,
            f"has {width} x {height} pixels; at most {MAX_PIXELS / 1e6:g} million are "
            "read",
            "Scale the picture down.",
        )


def _from_file(source: Union[str, "os.PathLike[str]", bytes], name: str) -> np.ndarray:
    from PIL import Image

    Image.init()
    formats = [kind for kind in _FORMATS if kind in Image.OPEN]
    file = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    if isinstance(file, Path) and file.exists():
        if not file.is_file():
            raise ClipError(name, "is a folder, a pipe or a device, not a picture")
        if file.stat().st_size == 0:
            raise ClipError(name, "zero-length file", "Fetch the file again.")
    with warnings.catch_warnings():  # of many pixels: they are limited here
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=formats)
        except Image.UnidentifiedImageError as error:
            raise ClipError(
                name,
                "unreadable image (of no known format, or damaged)",
                "Convert it to .jpg or .png, or fetch it again.",
            ) from error
    with image:
        _draft(image)
        return _from_pil(image, name)


def _draft(image: "PIL.Image.Image") -> None:  # noqa: F821
    """Have a large JPEG decoded at a half, a quarter or an eighth of its size."""
    width, height = image.size
    if image.format not in ("JPEG", "MPO") or width * height > MAX_JPEG_PIXELS:
        return
    for factor in (2, 4, 8):
        if image.width * image.height > MAX_PIXELS:
            image.draft(None, (width // factor, height // factor))


def _from_pil(image: "PIL.Image.Image", name: str) -> np.ndarray:  # noqa: F821
    check_pixels(*image.size, name)
    if 0 in image.size:
        raise ClipError(name, "has no pixels")
    image.load()  # of a TIFF, this turns the picture and takes its orientation away
    found = np.empty((image.height, image.width, 3), np.uint8)
    bands = _deep_grey(image, name) if image.mode in _DEEP_GREY else _bands(image)
    top = 0
    for band in bands:
        found[top : top + len(band)] = band
        top += len(band)
    return np.ascontiguousarray(upright(found, _orientation(image)))


def _orientation(image: "PIL.Image.Image") -> int:  # noqa: F821
    try:
        return image.getexif().get(_ORIENTATION, UPRIGHT)
    except Exception:  # damaged EXIF data; the picture may be whole
        return UPRIGHT


def _bands(image: "PIL.Image.Image") -> Iterator[np.ndarray]:  # noqa: F821
    """Yield stretches of rows (n, W, 3), uint8; a whole copy needs twice the memory."""
    from PIL import Image

    step = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        band = image
        if (top, bottom) != (0, image.height):
            band = image.crop((0, top, image.width, bottom))
        if image.has_transparency_data:
            band = band.convert("RGBA")
            ground = Image.new("RGB", band.size, (GROUND,) * 3)
            ground.paste(band, mask=band)
            band = ground
        yield np.asarray(band if band.mode == "RGB" else band.convert("RGB"))


def _deep_grey(image: "PIL.Image.Image", name: str) -> Iterator[np.ndarray]:  # noqa: F821
    """Yield rows of grey of more than 8 bits, scaled: the largest value is white."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    white, expected = 65535.0, "whole numbers from 0 to 65535"
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    if image.mode == "F":
        expected = "values from 0 to 1, or whole numbers from 0 to 255 or 65535,"
        if high <= 1:
            white = 1.0
        elif not np.array_equal(values, np.rint(values)):
            white = np.nan  # what is white is not known: of NaN, infinity, HDR
        elif high <= 255:
            white = 255.0
    elif tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED and bits == 16:
        white, expected = 32767.0, "whole numbers from 0 to 32767"
    elif 8 < bits < 16:
        white = 2.0**bits - 1
    if not (low >= 0 and high <= white):
        raise ClipError(
            name,
            f"its values reach from {low} to {high}; of grey pictures in format "
            f"{image.mode}, {expected} are read",
            "Convert the picture to 8 bits.",
        )
    inverted = image.mode != "F" and tags.get(_PHOTOMETRIC) == 0  # white is zero
    for row in values:
        share = row / white
        grey = np.rint(255 * (1 - share if inverted else share)).astype(np.uint8)
        yield np.broadcast_to(grey[None, :, None], (1, len(grey), 3))


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    shape = array.shape[:2] + (array.shape[2:] or (1,))
    right = array.dtype in (np.uint8, np.uint16) and array.ndim in (2, 3)
    if not right or shape[2] not in (1, 3, 4) or 0 in shape:
        raise ClipError(
            name,
            f"is an array of {array.dtype} {array.shape}; expected a picture as uint8 "
            "(H, W, 3)",
        )
    check_pixels(shape[1], shape[0], name)
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    array = array.reshape(shape)
    if shape[2] == 4:
        from PIL import Image

        return _from_pil(Image.fromarray(np.ascontiguousarray(array)), name)
    return np.ascontiguousarray(np.broadcast_to(array, (*shape[:2], 3)))
