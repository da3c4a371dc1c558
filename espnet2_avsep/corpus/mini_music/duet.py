"""A video of two takes side by side, to try the separation on."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Iterator, List

import numpy as np
from PIL import Image

from espnet2_avsep.corpus.mini_music.corpus import (
    Parameters,
    PathLike,
    Take,
    film,
    plan,
    sound,
    write_video,
)
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError

RATE, FPS, SIZE = 44100, 12, (320, 240)


def write_duet(
    folder: PathLike, left: str, right: str, parameters: Parameters
) -> List[Path]:
    """Write duet.mp4, and left.jpg and right.jpg, a picture of each player.

    The two takes are of the test set, so that no training has seen them. Of one
    instrument on both sides, they are two different ones.

    Args:
        folder: Where the files go.
        left: Instrument of the left half of the picture.
        right: Instrument of the right half.
        parameters: Of the corpus.

    Returns:
        The three files.

    Raises:
        InputError: the corpus does not have these two takes, or its parameters are out
            of range.
    """
    import soxr

    parameters.check()
    folder = Path(folder)
    takes = [
        _test_take(left, 0, parameters),
        _test_take(right, int(right == left), parameters),
    ]
    sounds = []
    for take in takes:
        mono = sound(take, parameters).mean(axis=0)
        sounds.append(soxr.resample(mono, take.sampling_rate, RATE))
    length = min(map(len, sounds))
    mixture = sum(track[:length] for track in sounds) / len(sounds)
    folder.mkdir(parents=True, exist_ok=True)
    films = [list(_resampled(take, parameters)) for take in takes]
    pictures = (np.concatenate(pair, axis=1) for pair in zip(*films, strict=True))
    files = [folder / name for name in ("duet.mp4", "left.jpg", "right.jpg")]
    write_video(files[0], mixture[None].astype(np.float32), RATE, pictures, FPS)
    for path, frames in zip(files[1:], films, strict=True):
        with atomic_write(path, "wb") as f:
            Image.fromarray(frames[len(frames) // 2]).save(f, "JPEG", quality=90)
    return files


def _test_take(name: str, index: int, parameters: Parameters) -> Take:
    own = [t for t in plan(parameters) if t.category == name and t.set == "test"]
    if index < len(own):
        return own[index]
    if own:
        raise InputError(
            f"{name} on both sides: the test set has a single take of it; two are "
            "needed."
        )
    raise InputError(
        f"{name}: the corpus has no such instrument; it has "
        f"{', '.join(parameters.instruments)}."
    )


def _resampled(take: Take, parameters: Parameters) -> Iterator[np.ndarray]:
    """Yield the pictures of a take at FPS and SIZE, the latest at each time."""
    pictures = film(take, parameters)
    picture, shown = next(pictures), 0
    for number in itertools.count():
        time = Fraction(number, FPS)
        if time >= parameters.duration:
            return
        while Fraction(shown + 1, take.fps) <= time:
            picture, shown = next(pictures, picture), shown + 1
        yield np.asarray(Image.fromarray(picture).resize(SIZE))
