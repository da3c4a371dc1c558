"""Which regions of a video sound: probabilities of queries, and a heat map."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from espnet2_avsep.data.audio.audio_blocks import AudioBlocks, long_enough
from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts import Box, Region
from espnet2_avsep.media.box import box_corners, box_pixels
from espnet2_avsep.media.sound import DownMix
from espnet2_avsep.media.stream import measure
from espnet2_avsep.visual.frames import video_frames

if TYPE_CHECKING:
    from espnet2_avsep.inference.separate import SeparateAV

# Side of a window of the map, as a share of the picture's.
WINDOW = 0.4
# Colour of what sounds, and its greatest share of a pixel.
_RED, _OPACITY = (255, 32, 0), 0.7


class GroundedFile(NamedTuple):
    """What sounds in a recording.

    Attributes:
        begins: Begin of each stretch of it in s, (S,).
        ends: End of each stretch, (S,).
        probability: That a query sounds in a stretch, (S, N).
    """

    begins: np.ndarray
    ends: np.ndarray
    probability: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over time of each query's probability, (N,)."""
        return np.average(self.probability, axis=0, weights=self.ends - self.begins)


def ground_file(
    separate: "SeparateAV",
    source: PathLike,
    prompts: Sequence[Any],
    audio_stream: Optional[int] = None,
) -> GroundedFile:
    """Tell which prompts can be heard in a sound or video file.

    Args:
        separate: A model that grounds (CCoL).
        source: The file, of any length.
        prompts: As for SeparateAV.__call__.
        audio_stream: Number, from 1, of the audio stream to listen to.

    Raises:
        InputError: see SeparateAV.ground.
    """
    blocks = AudioBlocks(source, audio_stream)
    mix = DownMix()
    pieces = (mix(block)[None] for block in long_enough(blocks, separate.shortest))
    stretches = list(separate.ground(pieces, prompts, blocks.fs))
    begins, ends, probability = zip(*stretches, strict=True)
    return GroundedFile(np.array(begins), np.array(ends), np.stack(probability))


def windows(grid: int) -> List[Box]:
    """Return grid x grid boxes of side WINDOW that cover a picture, row by row."""
    starts = np.linspace(0, 1 - WINDOW, grid)
    return [
        (float(x), float(y), float(x + WINDOW), float(y + WINDOW))
        for y in starts
        for x in starts
    ]


def heat_map(
    boxes: Sequence[Box], values: "Sequence[float] | np.ndarray", size: Tuple[int, int]
) -> np.ndarray:
    """Average the values of boxes over each pixel.

    Args:
        boxes: Together they cover the picture.
        values: One a box.
        size: (H, W) of the result.

    Returns:
        (H, W); where no box is, 0.
    """
    total, count = np.zeros(size), np.zeros(size)
    for box, value in zip(boxes, values, strict=True):
        rows, columns = box_pixels(box, *size)
        total[rows, columns] += value
        count[rows, columns] += 1
    return total / np.maximum(count, 1)


def ground_picture(
    separate: "SeparateAV",
    video: PathLike,
    grid: int = 7,
    audio_stream: Optional[int] = None,
) -> np.ndarray:
    """Map where in the picture of a video something sounds.

    Overlapping windows are grounded as queries, each looked at once in a stretch.

    Args:
        separate: A model that grounds (CCoL).
        video: The video.
        grid: Windows along each axis.
        audio_stream: See ground_file.

    Returns:
        (H, W) in [0, 1], H and W those of the video's picture.

    Raises:
        InputError: see SeparateAV.ground; a grid of fewer than 2 windows.
    """
    if not 2 <= grid <= 32:
        raise InputError(f"grid={grid}; expected a number of windows from 2 to 32.")
    boxes = windows(grid)
    every = separate.segment / separate.sample_rate
    regions = [
        Region(video, box, every=every, audio_stream=audio_stream) for box in boxes
    ]
    found = ground_file(separate, video, regions, audio_stream)
    return heat_map(boxes, found.mean, middle_picture(video, audio_stream).shape[:2])


def middle_picture(video: PathLike, audio_stream: Optional[int] = None) -> np.ndarray:
    """Return the picture in the middle of a video's sound, (H, W, 3) uint8."""
    info = measure(video, audio_stream)
    ends = [end for end in (info.audio_end, info.video_end) if end is not None]
    middle = [Fraction(ends[0] - info.zero) / 2]
    ((_, picture),) = video_frames(video, middle, start=info.zero)
    return picture


def write_heat_map(
    path: PathLike,
    picture: np.ndarray,
    heat: np.ndarray,
    boxes: Sequence[Box] = (),
    words: Sequence[str] = (),
) -> None:
    """Write a picture with a map over it as a PNG: the redder, the more it sounds.

    Args:
        path: The file.
        picture: (H, W, 3), uint8.
        heat: (H, W) in [0, 1].
        boxes: To be drawn as frames.
        words: One for each box.
    """
    from PIL import Image, ImageDraw

    share = (_OPACITY * heat)[..., None]
    shown = (1 - share) * picture + share * np.array(_RED)
    image = Image.fromarray(np.rint(shown).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    height, width = heat.shape
    for box, text in zip(boxes, words, strict=True):
        corners = box_corners(box, height, width)
        draw.rectangle(corners, outline=(255, 255, 255))
        draw.text((corners[0] + 4, corners[1] + 3), text, fill=(255, 255, 255))
    with atomic_write(path, "wb") as f:
        image.save(f, "PNG")
