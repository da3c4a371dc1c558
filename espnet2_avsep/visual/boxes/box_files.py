"""Boxes around objects, from files that a detector of someone else's has left."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from espnet2_avsep.data.tables.clip_files import ClipFiles
from espnet2_avsep.data.tables.json_file import parse_json
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.table_entry import load_npy
from espnet2_avsep.media.container import ClipError

ENDINGS = (".npy", ".json")


class Box(NamedTuple):
    """An object that was detected in a picture.

    Attributes:
        label: Its class, a number or a name.
        score: Confidence, 0 to 1.
        corners: Left, top, right, bottom in pixels.
    """

    label: Union[int, str]
    score: float
    corners: Tuple[float, float, float, float]


class ClipBoxes(NamedTuple):
    """The boxes of a clip.

    Attributes:
        frames: Number of a picture, from 1 -> its boxes. A picture without any is not
            there.
        fps: Numbered pictures a second: number k was seen at (k - 1) / fps s.
        size: Width and height of the pictures that the boxes were found in; None: those
            of the clip itself.
    """

    frames: Dict[int, List[Box]]
    fps: float
    size: Optional[Tuple[int, int]]

    def at(self, time: float) -> List[Box]:
        """Return the boxes of the picture that was on show at a time in s."""
        # A little more, since (k - 1) / fps may be rounded down.
        return self.frames.get(int(time * self.fps + 1e-6) + 1, [])


class BoxFiles(ClipFiles):
    """A folder of box files, one for each clip; see :class:`ClipFiles` for the names.

    What is assumed of a .npy file (Co-Separation, iQuery): 7 numbers a row, which are
    the number of the picture from 1, the class, the score, and left, top, right, bottom
    in pixels. Rows of zeros only mean no object. A .json file holds

        {"boxes": [{"frame": 1, "label": "violin", "score": 0.9,
                    "box": [left, top, right, bottom]}, ...],
         "fps": 1, "width": 640, "height": 360}

    where the last three may be missing. (Co-Separation cuts videos into pieces of 10 s
    before it detects; the boxes of a piece fit a clip that is this piece alone.)

    Args:
        folder: Holds the files.
        utt2clip: Clip -> category/video; None: the id tells.
        fps: Numbered pictures a second, where a file does not say: 1 in iQuery, 8 in
            Co-Separation.
        size: Width and height of the pictures that the boxes were found in, where a
            file does not say; None: those of the clip itself.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """

    def __init__(
        self,
        folder: PathLike,
        utt2clip: Optional[Mapping[str, str]] = None,
        fps: float = 1.0,
        size: Optional[Tuple[int, int]] = None,
    ):
        super().__init__(folder, ENDINGS, "--visual_boxes", utt2clip)
        self.fps = fps
        self.size = size

    def load(self, key: str) -> Optional[ClipBoxes]:
        """Read the boxes of a clip; None: there is no file.

        Raises:
            ClipError: not readable, or not as it should be.
        """
        path = self.find(key)
        if path is None:
            return None
        if path.suffix.lower() == ".json":
            return _read_json(path, self.fps, self.size)
        return ClipBoxes(_by_frame(path, _read_npy(path)), self.fps, self.size)


def _read_npy(path: Path) -> List[Tuple[Any, Any, Any, Any]]:
    try:
        rows = load_npy(path)
    except (OSError, ValueError) as error:
        raise ClipError(path, f"unreadable boxes: {error}") from error
    if (
        rows.dtype.kind not in "fiu"
        or rows.size
        and (rows.ndim != 2 or rows.shape[1] != 7)
    ):
        raise ClipError(
            path,
            f"wrong boxes: {rows.shape}, expected rows of 7 "
            "numbers: picture, class, score, left, top, right, bottom",
        )
    rows = rows.reshape(-1, 7).tolist()
    return [(row[0], row[1], row[2], row[3:]) for row in rows if any(row)]


def _read_json(path: Path, fps: float, size: Optional[Tuple[int, int]]) -> ClipBoxes:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        rows = [
            (box["frame"], box["label"], box["score"], list(box["box"]))
            for box in content["boxes"]
        ]
        fps = float(content.get("fps", fps))
        if "width" in content or "height" in content:
            size = (int(content["width"]), int(content["height"]))
        if not fps > 0 or size is not None and min(size) < 1:
            raise ValueError("fps, width and height must be above 0")
        if not all(isinstance(label, (int, str)) for _, label, _, _ in rows):
            raise ValueError("a label must be a number or a name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClipError(
            path,
            f"unreadable boxes: {type(error).__name__} {error}, expected "
            '{"boxes": [{"frame", "label", "score", "box"}, ...]}',
        ) from error
    return ClipBoxes(_by_frame(path, rows), fps, size)


def _by_frame(
    path: Path, rows: List[Tuple[Any, Any, Any, Any]]
) -> Dict[int, List[Box]]:
    """Check boxes and sort them by their picture."""
    frames: Dict[int, List[Box]] = {}
    for frame, label, score, corners in rows:
        try:
            left, top, right, bottom = (float(value) for value in corners)
            label = int(label) if isinstance(label, float) else label
            right_order = left < right and top < bottom and 0 <= float(score) <= 1
            wrong = not right_order or int(frame) != frame or frame < 1
        except (TypeError, ValueError, OverflowError):
            wrong = True
        if wrong:
            raise ClipError(
                path,
                f"wrong boxes: picture {frame}, class {label}, score {score}, corners "
                f"{corners}; expected a picture's number from 1, a score of 0 to 1, "
                "left < right and top < bottom",
            )
        box = Box(label, float(score), (left, top, right, bottom))
        frames.setdefault(int(frame), []).append(box)
    return frames
