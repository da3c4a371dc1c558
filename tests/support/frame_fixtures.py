"""Packed frames whose colour tells which clip and which frame they are."""

from pathlib import Path
from typing import Dict

import numpy as np

from espnet2_avsep.data.features import write_record
from espnet2_avsep.data.frame_store import PackedFrames, encode_jpeg


def plain(clip: int, row: int, size: int = 12) -> np.ndarray:
    """A picture (size, size, 3) of one colour: red says the clip, green the frame."""
    return np.full((size, size, 3), (10 * clip, 10 * row, 128), np.uint8)


def pack(clip: int, num_rows: int, size: int = 12) -> PackedFrames:
    jpegs = [encode_jpeg(plain(clip, row, size)) for row in range(num_rows)]
    return PackedFrames(jpegs, size, size)


def read_plain(frames: np.ndarray) -> list:
    """(V, 3, H, W) -> [(clip, row), ...]."""
    means = frames.mean(axis=(2, 3))
    return [(round(r / 10), round(g / 10)) for r, g, _ in means]


def write_frames(path: Path, clips: Dict[str, PackedFrames]) -> Dict[str, str]:
    """Write an ark of packed frames; return key -> file:offset."""
    with path.open("wb") as f:
        return {key: f"{path}:{write_record(f, key, p)}" for key, p in clips.items()}
