"""What a visitor of the demo asks for, as the words of ``avsep separate``."""

from fractions import Fraction
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.box import box_corners
from espnet2_avsep.media.container import ClipError, PathLike
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.media.stream import measure
from espnet2_avsep.visual.frames import video_frames

# Pictures are shown no larger than this.
SHOWN = Resize((540, 960), "longest", "bilinear")
Box = Tuple[float, float, float, float]


class Request(NamedTuple):
    """What a visitor gave and asked for.

    Attributes:
        video: File, or "".
        sound: File, or "".
        share: At which share of the video's duration the picture is shown.
        halves: Whether the left and the right half of the picture are separated.
        boxes: Regions, see :func:`read_boxes`.
        moment: Whether regions are looked at in the shown picture only.
        names: Words, one thing a line.
        files: Pictures and embeddings.
        one: Whether all files are of one thing, and are averaged.
    """

    video: str = ""
    sound: str = ""
    share: float = 0.5
    halves: bool = False
    boxes: str = ""
    moment: bool = False
    names: str = ""
    files: Sequence[str] = ()
    one: bool = False


def command_words(request: Request) -> List[str]:
    """Return the words of the command line: the input and the queries.

    Raises:
        InputError: there is no recording, or two; nothing is asked for; a region cannot
            be used.
    """
    video, sound = request.video, request.sound
    if not video and not sound:
        raise InputError("there is no recording yet: give a video or a sound.")
    if video and sound:
        raise InputError("a video and a sound were given: remove one of them.")
    words = [video or sound]
    if request.halves:
        words += ["--sources", "left-right"]
    boxes = read_boxes(request.boxes)
    if not video and (boxes or request.halves):
        raise InputError("regions are of a video's picture; give a video.")
    ending = ""
    if boxes and request.moment:
        info = measure(video)
        at = float(moment(video, request.share)) + info.video_start - info.zero
        ending = f",seen={max(0.0, at):.3f}"
    lines = filter(str.strip, request.boxes.splitlines())
    for box, line in zip(boxes, lines, strict=True):
        edges = ",".join(f"{edge:g}" for edge in box)
        _, at, spans = line.partition("@")
        words += ["--query", f"box:{edges}{ending}{at}{spans.strip()}"]
    for name in request.names.splitlines():
        if name.strip():
            words += ["--query", f"text:{name.strip()}"]
    files = [str(path) for path in request.files]
    for query in ["+".join(files)] if request.one and files else files:
        words += ["--query", query]
    if len(words) == 1:
        raise InputError(
            "nothing to separate: choose the halves, mark a region, type a name or "
            "give a picture."
        )
    return words


def without_folders(query: str) -> str:
    """Return a query with its uploads called by their names, without their folders."""
    if query.startswith("text:"):
        return query
    return "+".join(part.rpartition("/")[2] for part in query.split("+"))


def read_boxes(text: str) -> List[Box]:
    """Read regions, one a line: left, top, right, bottom, as shares of the picture.

    Time spans after an "@" are left to the command.

    Raises:
        InputError: a line is not a region, or an edge is outside or on the wrong side.
    """
    boxes: List[Box] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            edges = line.partition("@")[0].replace(",", " ").split()
            left, top, right, bottom = map(float, edges)
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


def outline(picture: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Draw regions, numbered, onto a copy of a picture (H, W, 3)."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for number, box in enumerate(boxes, 1):
        corners = box_corners(box, height, width)
        draw.rectangle(corners, outline=(255, 220, 0), width=3)
        draw.text((corners[0] + 6, corners[1] + 4), str(number), fill=(255, 220, 0))
    return np.asarray(image)


def moment(video: PathLike, share: float) -> Fraction:
    """Return the time, from the first picture, at a share of a video's duration.

    Raises:
        ClipError: the video cannot be read, or has no picture.
    """
    info = measure(video)
    if not info.has_video:
        raise ClipError(video, "no video stream", "Give a file with a picture.")
    return Fraction(min(max(share, 0.0), 1.0) * (info.video_duration or 0.0))


def picture_at(video: PathLike, share: float, resize: Any = SHOWN) -> np.ndarray:
    """Return the picture at a share of a video's duration, (H, W, 3), uint8.

    Raises:
        ClipError: the video cannot be read, or has no picture.
    """
    time = moment(video, share)
    start = measure(video).video_start
    return next(iter(video_frames(video, [time], resize, start)))[1]
