"""How loud a clip is, and whether it is clipped: measured once, kept in a table."""

import math
from typing import Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import soundfile

from espnet2_avsep.data.segment_reader import is_finite
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.tsv import read_tsv, write_tsv
from espnet2_avsep.errors import InputError

_BLOCK_SAMPLES = 1 << 18
# The greatest values of 16 bits: samples from there on count as at full scale.
_FULL_SCALE = 32767 / 32768
_HEADER = ("clip", "rms_dbfs", "peak_dbfs", "full_scale")


class Level(NamedTuple):
    """The level of a whole clip.

    Attributes:
        rms_dbfs: Root mean square in dB; a constant 1.0 has 0 dB.
        peak_dbfs: Greatest magnitude in dB; 1.0 has 0 dB.
        full_scale: Number of samples at full scale.
    """

    rms_dbfs: float
    peak_dbfs: float
    full_scale: int


def measure(f: soundfile.SoundFile) -> Tuple[int, Optional[Level]]:
    """Read an open mono file to its end, block by block.

    Returns:
        Number of samples read, and their level; None: a sample is NaN or infinite.
    """
    total, peak = 0.0, 0.0
    num_read = full_scale = 0
    buffer = np.empty(_BLOCK_SAMPLES, np.float32)
    while True:
        block = f.read(out=buffer)
        if not len(block):
            break
        if not is_finite(block):
            return num_read, None
        total += float(np.einsum("i,i->", block, block, dtype=np.float64))
        highest = max(float(block.max()), -float(block.min()))
        if highest >= _FULL_SCALE:
            full_scale += int(np.count_nonzero(np.abs(block) >= _FULL_SCALE))
        peak = max(peak, highest)
        num_read += len(block)
    mean_square = total / max(num_read, 1)
    rms_dbfs = 10 * math.log10(mean_square) if mean_square > 0 else -math.inf
    peak_dbfs = 20 * math.log10(peak) if peak > 0 else -math.inf
    return num_read, Level(rms_dbfs, peak_dbfs, full_scale)


def write_levels(path: PathLike, levels: Mapping[str, Level]) -> None:
    """Write a table of levels (tab-separated, with a header), sorted by clip."""
    write_tsv(
        path,
        _HEADER,
        (
            (key, f"{level.rms_dbfs:.2f}", f"{level.peak_dbfs:.2f}", level.full_scale)
            for key, level in sorted(levels.items(), key=lambda item: item[0].encode())
        ),
    )


def read_levels(path: PathLike) -> Dict[str, Level]:
    """Read a table of levels.

    Raises:
        InputError: the file is missing or is no such table.
    """
    levels = {}
    for row in read_tsv(path, _HEADER, "stage 4 writes it; run it again."):
        key, rms, peak, full_scale = map(row.get, _HEADER)
        try:
            levels[key] = Level(float(rms), float(peak), int(full_scale))
        except ValueError as error:
            raise InputError(
                f"{path}: {key} has no level ({error}); run stage 4 again."
            ) from error
    return levels
