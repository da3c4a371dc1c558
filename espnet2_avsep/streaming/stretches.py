"""A signal that comes in pieces, cut into stretches of one length."""

from typing import Iterable, Iterator, NamedTuple

import numpy as np


class Stretch(NamedTuple):
    """A stretch of a signal.

    Attributes:
        begin: Its first sample.
        end: The sample after its last one.
        samples: What is to be heard, (L,): the stretch; of a last one that is shorter,
            preceded by as many samples as make it as long as the others.
    """

    begin: int
    end: int
    samples: np.ndarray


def cut(pieces: Iterable[np.ndarray], length: int) -> Iterator[Stretch]:
    """Cut a signal into stretches; memory does not grow with its length.

    Args:
        pieces: (L',) each, of any lengths.
        length: Samples of a stretch.
    """
    before = waiting = np.zeros(0, np.float32)
    begin = 0
    for piece in pieces:
        waiting = np.concatenate([waiting, piece])
        while len(waiting) >= length:
            before, waiting = waiting[:length], waiting[length:]
            yield Stretch(begin, begin + length, before)
            begin += length
    if len(waiting):
        heard = np.concatenate([before, waiting])[-length:]
        yield Stretch(begin, begin + len(waiting), heard)
