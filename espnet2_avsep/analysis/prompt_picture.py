"""The picture behind a visual row, for showing what a separator was prompted with."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from espnet2_avsep.data.media import ClipError, probe
from espnet2_avsep.visual.frames import folder_frames, list_images, video_frames


def prompt_picture(video: str, row: int, fps: float, every: int) -> np.ndarray:
    """Return the picture that row ``row`` of a clip was made from, as stage 2 takes it.

    Args:
        video: A video file or a folder of images.
        row: Row of the clip's visual matrix, from 0.
        fps: Pictures a second that stage 2 looked at.
        every: Of these, it took every k-th; of a folder, every k-th image.

    Returns:
        (H, W, 3), uint8, RGB, in the video's own size.

    Raises:
        ClipError: the video cannot be read, or has no such picture.
    """
    if Path(video).is_dir():
        number = row * every
        if number >= len(list_images(video)):
            raise ClipError(video, f"holds no image number {number + 1}")
        for found, image in folder_frames(video, every):
            if found == number:
                return image
    info = probe(video)
    if not info.has_video:
        raise ClipError(video, "no video stream")
    start = info.audio_start if info.has_audio else info.start
    time = Fraction(row) * every / Fraction(fps)
    _, image = next(video_frames(video, [time], start=start))
    return image
