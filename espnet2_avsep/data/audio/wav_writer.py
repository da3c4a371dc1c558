"""Write float32 wav files whose bytes depend on nothing but the samples."""

import struct
from pathlib import Path
from typing import Union

import numpy as np

from espnet2_avsep.data.tables.scp import write_file

HEADER_BYTES = 58
_IEEE_FLOAT = 3


def write_float_wav(path: Union[str, Path], samples: np.ndarray, fs: int) -> None:
    """Write a mono float32 wav file atomically.

    libsndfile puts the time of writing into float files (the PEAK chunk), so that two
    runs would differ; this header has only what the format demands.

    Args:
        path: The file.
        samples: Shape (L,).
        fs: Sampling rate in Hz.
    """
    data = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    header = struct.pack(
        "<4sI4s4sIHHIIHHH4sII4sI",
        *(b"RIFF", HEADER_BYTES - 8 + len(data), b"WAVE"),
        *(b"fmt ", 18, _IEEE_FLOAT, 1, fs, fs * 4, 4, 32, 0),
        *(b"fact", 4, len(data) // 4),
        *(b"data", len(data)),
    )
    write_file(path, header + data)
