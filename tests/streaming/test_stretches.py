import numpy as np
import pytest

from espnet2_avsep.streaming.stretches import cut


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (9, [(0, 4, [0, 1, 2, 3]), (4, 8, [4, 5, 6, 7]), (8, 9, [5, 6, 7, 8])]),
        (8, [(0, 4, [0, 1, 2, 3]), (4, 8, [4, 5, 6, 7])]),
        (3, [(0, 3, [0, 1, 2])]),
        (0, []),
    ],
)
def test_stretches_of_four(length, expected, piece):
    """A shorter last one is preceded by what came before it; pieces do not matter."""
    signal = np.arange(length, dtype=np.float32)
    pieces = [signal[n : n + piece] for n in range(0, length, piece)]
    found = [(s.begin, s.end, s.samples.tolist()) for s in cut(pieces, 4)]
    assert found == expected
