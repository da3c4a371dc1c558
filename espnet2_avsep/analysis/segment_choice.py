"""Which parts of a clip are used in an analysis."""

from typing import List


def even_starts(total: int, length: int, count: int) -> List[int]:
    """First samples of segments that are spread evenly over a clip.

    Segment i is centred on (i + 1/2) / count of the clip and moved inwards where it
    would leave it; a single one is the centre crop.

    Args:
        total: Samples of the clip, at least ``length``.
        length: Samples of a segment.
        count: Number of segments.
    """
    centres = [(2 * i + 1) * total // (2 * count) for i in range(count)]
    return [min(max(c - length // 2, 0), total - length) for c in centres]
