"""What a visitor of the demo asks for, as prompts; and the tracks, as files."""

from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Sequence, Tuple

import numpy as np

from espnet2_avsep.data.audio_io import read_audio, write_audio
from espnet2_avsep.data.scp import PathLike
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.media.stream import measure
from espnet2_avsep.visual.frames import video_frames

# Pictures are shown no larger than this.
SHOWN = Resize((540, 960), "longest", "bilinear")
# A region narrower or lower than this, in pixels, shows nothing.
_LEAST_PIXELS = 8

Box = Tuple[float, float, float, float]
Separate = Callable[[np.ndarray, Sequence[Any], int], np.ndarray]


class Query(NamedTuple):
    """One thing to separate.

    Attributes:
        title: What it is called.
        prompt: What SeparateAV takes for it.
    """

    title: str
    prompt: Any


class Track(NamedTuple):
    """One separated track.

    Attributes:
        title: Of what.
        path: Its wav file.
    """

    title: str
    path: Path


def read_boxes(text: str) -> List[Box]:
    """Read regions, one a line: left, top, right, bottom, as shares of the picture.

    Raises:
        InputError: an invalid line, or an edge lies outside or on the wrong side.
    """
    boxes: List[Box] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            left, top, right, bottom = map(float, line.replace(",", " ").split())
        except ValueError:
            raise InputError(
                f"region {number}, {line.strip()!r}: expected left, top, right, bottom "
                "as four numbers from 0 to 1."
            ) from None
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(
                f"region {number}, {line.strip()!r}: expected 0 <= left < right <= 1 "
                "and 0 <= top < bottom <= 1."
            )
        boxes.append((left, top, right, bottom))
    return boxes


def write_box(one: Sequence[int], two: Sequence[int], width: int, height: int) -> str:
    """Write the region between two opposite corners, given in pixels, as a line."""
    left, right = sorted((one[0] / width, two[0] / width))
    top, bottom = sorted((one[1] / height, two[1] / height))
    return ", ".join(f"{value:.3f}" for value in (left, top, right, bottom))


def cut(picture: np.ndarray, box: Box) -> np.ndarray:
    """Cut a region out of a picture (H, W, 3).

    Raises:
        InputError: the region has too few pixels.
    """
    height, width = picture.shape[:2]
    left, right = round(box[0] * width), round(box[2] * width)
    top, bottom = round(box[1] * height), round(box[3] * height)
    if right - left < _LEAST_PIXELS or bottom - top < _LEAST_PIXELS:
        raise InputError(
            f"the region {', '.join(f'{edge:g}' for edge in box)} has {right - left} x "
            f"{bottom - top} pixels; expected {_LEAST_PIXELS} or more each way."
        )
    return np.ascontiguousarray(picture[top:bottom, left:right])


def outline(picture: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Draw regions, numbered, onto a copy of a picture (H, W, 3)."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        corners = (
            left * width,
            top * height,
            right * width - 1,
            bottom * height - 1,
        )
        draw.rectangle(corners, outline=(255, 220, 0), width=3)
        draw.text((corners[0] + 6, corners[1] + 4), str(number), fill=(255, 220, 0))
    return np.asarray(image)


def picture_at(video: PathLike, share: float, resize: Any = SHOWN) -> np.ndarray:
    """Return the picture at a share of a video's duration, (H, W, 3), uint8.

    Raises:
        ClipError: the video cannot be read, or has no picture.
    """
    info = measure(video)
    if not info.has_video:
        raise ClipError(video, "no video stream", "Give a file with a picture.")
    seconds = info.video_duration or 0.0
    time = Fraction(min(max(share, 0.0), 1.0) * seconds)
    return next(iter(video_frames(video, [time], resize, info.video_start)))[1]


def queries(
    video: str, share: float, boxes: str, names: str, pictures: Sequence[str]
) -> List[Query]:
    """Return what is asked for: regions, then names, then pictures.

    Args:
        video: Of the regions; "" without one.
        share: At which share of its duration they were drawn.
        boxes: See :func:`read_boxes`.
        names: One a line.
        pictures: Files.

    Raises:
        InputError: nothing is asked for, a region without a video, a region or a
            video that cannot be used.
    """
    from espnet2_avsep.separate import Text

    found: List[Query] = []
    regions = read_boxes(boxes)
    if regions and not video:
        raise InputError(
            "regions are of a video's picture; give a video, or no region."
        )
    if regions:
        picture = picture_at(video, share, None)
        for number, box in enumerate(regions, 1):
            found.append(Query(f"region {number}", cut(picture, box)))
    found += [
        Query(name.strip(), Text(name.strip()))
        for name in names.splitlines()
        if name.strip()
    ]
    found += [Query(Path(path).stem, str(path)) for path in pictures]
    if not found:
        raise InputError(
            "nothing to separate: mark a region, type a name or give a picture."
        )
    return found


def separate_recording(
    separate: Separate,
    sound: str,
    asked: Sequence[Query],
    folder: PathLike,
    max_seconds: float,
) -> List[Track]:
    """Separate a recording; write a track for each query, and what is left.

    Args:
        separate: A SeparateAV.
        sound: File of the recording; its channels are averaged.
        asked: What to separate.
        folder: Gets the wav files.
        max_seconds: Longer recordings are refused.

    Returns:
        The tracks, in the order of the queries, and the rest, at the recording's rate
        and length.

    Raises:
        InputError: the recording cannot be read or is too long, a query cannot be used.
    """
    if not sound:
        raise InputError("there is no recording yet: give a video or a sound.")
    audio, fs = read_audio(sound, max_seconds=max_seconds)
    tracks = separate(audio, [query.prompt for query in asked], fs)
    titles = [query.title for query in asked] + ["the rest"]
    sounds = [*tracks, audio - np.sum(tracks, axis=0)]
    written = []
    for number, (title, samples) in enumerate(zip(titles, sounds, strict=True), 1):
        path = Path(folder) / f"track{number}.wav"
        write_audio(path, samples, fs)
        written.append(Track(title, path))
    return written
