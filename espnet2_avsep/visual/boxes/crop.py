"""Pictures cut out around the best box, with a record of where each box came from."""

import itertools
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from espnet2_avsep.data.tables.scp import PathLike, atomic_write, read_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.file_name import looks_like_file
from espnet2_avsep.visual.boxes.box_files import Box, BoxFiles, ClipBoxes

ANY = "any"
DETECTOR, FILE, WHOLE = "detector", "file", "whole_frame"
# Boxes may end this many pixels outside of their picture: rounding.
_TOLERANCE = 2.0


class CropOptions(NamedTuple):
    """How boxes are chosen and cut out.

    Attributes:
        classes: Category of a clip (as in its id) -> classes of boxes, the most wanted
            first; "any" is every class. The category "*" is for those not
            named.
        score: Least score of a box.
        margin: What is added on each side, as a share of the box's width and height.
    """

    classes: Mapping[str, Sequence[str]]
    score: float = 0.3
    margin: float = 0.0

    def wanted(self, category: str) -> Sequence[str]:
        """Return the classes of boxes for a category, the most wanted first."""
        return self.classes.get(category, self.classes.get("*", ()))

    def best(self, category: str, boxes: Sequence[Box]) -> Optional[Box]:
        """Return the box with the highest score of the most wanted class there is."""
        for label in self.wanted(category):
            found = [
                box
                for box in boxes
                if box.score >= self.score and label in (ANY, str(box.label))
            ]
            if found:
                return max(found, key=lambda box: box.score)
        return None


def read_classes(value: Optional[str]) -> Dict[str, List[str]]:
    """Read --box_classes.

    Args:
        value: Classes, separated by commas, for all clips; or the path of a table whose
            lines are a category (or "*") and such classes; None: any.

    Raises:
        InputError: nothing is in it, or there is no such table.
    """
    if value is None:
        return {"*": [ANY]}
    is_table = Path(value).is_file() or looks_like_file(value)
    table = read_scp(value) if is_table else {"*": value}
    classes = {
        category: [name.strip() for name in names.split(",") if name.strip()]
        for category, names in table.items()
    }
    if not all(classes.values()):
        raise InputError(
            f"--box_classes {value}: names no class; expected names or numbers, "
            "separated by commas, or a table of categories and such classes."
        )
    return classes


class Cropper:
    """Cuts the pictures of clips out around their boxes.

    A picture without a box is taken whole, and that is noted. Crops are squeezed to the
    encoder's square, as Co-Separation and DGFNet do; whole pictures are not.

    Args:
        options: How boxes are chosen.
        category: Clip -> its category.
        detector: Finds the boxes: detect(images) -> boxes of each; or
        files: has them.
        batch_size: Pictures that the detector sees at a time.

    Attributes:
        notes: Clip -> [x1, y1, x2, y2, score, class, source] of each of its rows.
    """

    def __init__(
        self,
        options: CropOptions,
        category: Mapping[str, str],
        detector=None,
        files: Optional[BoxFiles] = None,
        batch_size: int = 4,
    ):
        self.options = options
        self.category = category
        self.detector = detector
        self.files = files
        self.batch_size = batch_size
        self.notes: Dict[str, List[List[Any]]] = {}

    def cut(
        self, key: str, images: Iterable[Tuple[float, np.ndarray]], encoder
    ) -> Iterator[np.ndarray]:
        """Yield the crops of a clip, as the encoder takes them.

        Args:
            key: The clip.
            images: Time in s and picture (H, W, 3), in its own size, of each row.
            encoder: A :class:`FrameEncoder` or :class:`FramePacker`.

        Yields:
            (crop height, crop width, 3), uint8.

        Raises:
            ClipError: boxes that cannot be read or lie outside of the picture.
        """
        notes = self.notes[key] = []
        for image, boxes, source in self._with_boxes(key, images):
            box = self.options.best(self.category.get(key, ""), boxes)
            height, width = image.shape[:2]
            if box is None:
                notes.append([0, 0, width, height, None, None, WHOLE])
                yield encoder.fit(image)
                continue
            left, top, right, bottom = corners = self._place(key, box, width, height)
            notes.append([*corners, round(box.score, 4), box.label, source])
            part = image[top:bottom, left:right]
            yield encoder.preprocessing.squeezed().fit(part)

    def _with_boxes(
        self, key: str, images: Iterable[Tuple[float, np.ndarray]]
    ) -> Iterator[Tuple[np.ndarray, List[Box], str]]:
        if self.files is None:
            pictures = (image for _, image in images)
            while batch := list(itertools.islice(pictures, self.batch_size)):
                for image, boxes in zip(
                    batch, self.detector.detect(batch), strict=True
                ):
                    yield image, boxes, DETECTOR
            return
        found = self.files.load(key)
        if found is not None:
            self._check_classes(key, found)
        for time, image in images:
            boxes = found.at(time) if found is not None else []
            if boxes and found.size is not None:
                height, width = image.shape[:2]
                factors = (width / found.size[0], height / found.size[1]) * 2
                boxes = [
                    box._replace(
                        corners=tuple(
                            c * f for c, f in zip(box.corners, factors, strict=True)
                        )
                    )
                    for box in boxes
                ]
            yield image, boxes, FILE

    def _check_classes(self, key: str, found: ClipBoxes) -> None:
        """Raise where names are wanted of boxes whose classes are numbers."""
        wanted = self.options.wanted(self.category.get(key, ""))
        boxes = [box for frame in found.frames.values() for box in frame]
        if (
            boxes
            and all(isinstance(box.label, int) for box in boxes)
            and not any(label == ANY or label.isdecimal() for label in wanted)
        ):
            raise InputError(
                f"--box_classes: {', '.join(wanted) or 'nothing'} is wanted for {key}, "
                f"but the boxes of {self.files.find(key)} have numbers for classes; "
                "give the numbers, or a table of categories and numbers."
            )

    def _place(
        self, key: str, box: Box, width: int, height: int
    ) -> Tuple[int, int, int, int]:
        """Return the pixels to cut out: a box and its margin, within the picture."""
        left, top, right, bottom = box.corners
        outside = max(-left, -top, right - width, bottom - height)
        if outside > _TOLERANCE:
            raise ClipError(
                key,
                "boxes lie outside of the picture: "
                f"{', '.join(str(round(c)) for c in box.corners)} in {width} x {height}"
                " pixels; were they found in pictures of another size (--box_size)?",
            )
        across = self.options.margin * (right - left)
        down = self.options.margin * (bottom - top)
        x1, y1 = max(round(left - across), 0), max(round(top - down), 0)
        x2 = min(round(right + across), width)
        y2 = min(round(bottom + down), height)
        # At least one pixel.
        x1, y1 = min(x1, width - 1), min(y1, height - 1)
        return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def write_box_table(
    path: PathLike, notes: Mapping[str, Sequence[Sequence[Any]]]
) -> Dict[str, int]:
    """Write where each row of each clip was cut out.

    Args:
        path: Gets a line for each row: clip, row, x1, y1, x2, y2, score, class, source
            (detector, file or whole_frame), separated by tabs; "-" for what there is
            not.
        notes: See :class:`Cropper`.

    Returns:
        Source -> number of rows.
    """
    counts: Dict[str, int] = {}
    with atomic_write(path) as f:
        for key in sorted(notes, key=str.encode):
            for row, values in enumerate(notes[key]):
                counts[values[-1]] = counts.get(values[-1], 0) + 1
                cells = ["-" if v is None else " ".join(str(v).split()) for v in values]
                f.write("\t".join([key, str(row), *cells]) + "\n")
    return counts
