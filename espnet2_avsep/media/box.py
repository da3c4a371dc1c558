"""Which pixels of a picture a box holds."""

from typing import Tuple


def box_pixels(
    box: Tuple[float, float, float, float], height: int, width: int
) -> Tuple[slice, slice]:
    """Return the rows and columns of a picture that a box holds, at least one each.

    Args:
        box: Left, top, right, bottom as shares of width and height.
        height: Of the picture.
        width: Of the picture.
    """
    left, top, right, bottom = box
    return _side(top, bottom, height), _side(left, right, width)


def box_corners(
    box: Tuple[float, float, float, float], height: int, width: int
) -> Tuple[int, int, int, int]:
    """Return the first column and row of box_pixels(), and the last ones, to draw it.

    Args:
        box: Left, top, right, bottom as shares of width and height.
        height: Of the picture.
        width: Of the picture.
    """
    rows, columns = box_pixels(box, height, width)
    return columns.start, rows.start, columns.stop - 1, rows.stop - 1


def _side(begin: float, end: float, size: int) -> slice:
    first = min(round(begin * size), size - 1)
    return slice(first, max(first + 1, round(end * size)))
