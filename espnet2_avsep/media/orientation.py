"""The eight ways in which a stored picture may be turned and mirrored.

They are numbered as the EXIF tag Orientation does (JEITA CP-3451, 4.6.4): 1 is upright,
2 mirrored left-right, 3 turned by 180 degrees, 4 mirrored top-bottom, 5 transposed,
6 to be turned clockwise, 7 transposed along the other diagonal, 8 to be turned
counter-clockwise.
"""

import struct

import numpy as np

UPRIGHT = 1
# Those that exchange width and height.
TRANSPOSED = frozenset((5, 6, 7, 8))
# (a, b, c, d) of x' = a x + c y, y' = b x + d y, x to the right and y downwards.
_MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of a picture (H, W) or (H, W, C) as it is to be shown.

    Args:
        image: As it is stored.
        orientation: 1 to 8; anything else counts as 1.
    """
    if orientation in TRANSPOSED:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def orientation_of(frame: "av.VideoFrame") -> int:  # noqa: F821
    """Return the orientation that comes nearest to a decoded picture's display matrix.

    FFmpeg's rotation angle does not tell a mirrored picture from a turned one.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    size = max(abs(a) + abs(b) + abs(c) + abs(d), 1)
    found = (a / size, b / size, c / size, d / size)
    return max(
        _MATRICES,
        key=lambda n: sum(x * y for x, y in zip(_MATRICES[n], found, strict=True)),
    )
