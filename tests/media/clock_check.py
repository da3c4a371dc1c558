"""Read a file of clock_files.py as the product does; compare with what is in it."""

from fractions import Fraction
from typing import List, Optional

import numpy as np

from espnet2_avsep import Region
from espnet2_avsep.data.audio_blocks import AudioBlocks
from espnet2_avsep.data.audio_io import AudioTap, load_audio
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.media.stream import measure
from espnet2_avsep.prompt_reader import _looks
from espnet2_avsep.visual.extract import _sampled_pictures
from tests.media.clock_files import FPS, SECONDS, Clocked

FRAME = 1 / FPS
# Encoders fill their last packets: MP3 up to two of 26 ms.
PADDING = 0.06
FS = 11625


def wrong(file: Clocked) -> List[str]:
    """Return what the reading code gets wrong; nothing: all is right."""
    found: List[str] = []

    def check(what: str, value: Optional[float], right: float, by: float) -> None:
        if value is None or abs(value - right) > by:
            found.append(f"{what}: {value}, {right:.3f} s expected")

    # Stage 3, and stage 2 in the same pass.
    path = str(file.path)
    audio = load_audio(path, FS)
    check("stage 3, click", _click(audio, FS), file.click, FRAME)
    check("stage 3, length", len(audio) / FS, file.seconds, PADDING)
    if file.flash is not None:
        tap = AudioTap(path)
        rows = list(_sampled_pictures(path, path, FPS, 1, Resize((16, 16)), tap))
        check("stage 2, rows", len(rows) / FPS, file.seconds, PADDING + FRAME)
        check("stage 2, flash", _flash(rows), max(0, file.flash), FRAME)
        if tap.audio is None:
            found.append("stage 2: the sound was left to a pass of its own")
        else:
            check("stage 2, click", _click(*tap.audio), file.click, FRAME)
    # avsep separate.
    blocks = AudioBlocks(path)
    sound = np.concatenate(list(blocks), axis=-1)
    check("separate, click", _click(sound[0], blocks.fs), file.click, FRAME)
    if file.flash is not None:
        looks = _looks(Region(path, every=FRAME))
        check("separate, flash", _flash(looks), max(0, file.flash), FRAME)
    # Probe, health page, downloads.
    info = measure(path)
    check("measure, sound", info.audio_duration, file.seconds, PADDING)
    if file.flash is not None:
        shown = FRAME if file.pictures == 1 else SECONDS
        check("measure, picture", info.video_duration, shown, 2 * FRAME + 1e-3)
    if blocks.length is not None:
        check("length", blocks.length / blocks.fs, file.seconds, PADDING)
    return found


def _click(audio: np.ndarray, rate: int) -> Optional[float]:
    loud = np.flatnonzero(np.abs(audio) > 0.4)
    return None if len(loud) == 0 else float(loud[0] / rate)


def _flash(pictures) -> Optional[float]:
    """Time of the first white picture, less half the distance of the pictures."""
    for time, image in pictures:
        if image.mean() > 180:
            return float(Fraction(time)) - FRAME / 2
    return None
