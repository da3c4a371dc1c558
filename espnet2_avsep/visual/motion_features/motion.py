"""Motion features of many clips: rows of a video network or of optical flow."""

import logging
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import numpy as np

from espnet2_avsep.data.features import FeatureWriter
from espnet2_avsep.data.records.journal import signature
from espnet2_avsep.data.tables.scp import PathLike, read_scp
from espnet2_avsep.device import choose_device
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.picture import read_image
from espnet2_avsep.visual.batches import encode_each
from espnet2_avsep.visual.extract import sound_on_video
from espnet2_avsep.visual.feature_job import (
    MAX_ROWS,
    Result,
    check_positive,
    each_clip,
    read_clips,
    run_feature_job,
    write_info,
)
from espnet2_avsep.visual.frames import list_images, video_frames
from espnet2_avsep.visual.motion_features.motion_names import FLOWS, RATES, WEIGHTS
from espnet2_avsep.visual.motion_features.precomputed_motion import (
    CHANNELS,
    MotionFiles,
)

NAME = "motion"
FLOW_VERSION = 1  # to be raised when the same pictures give other rows of flow
INFO = "motion_info.yaml"


def extract_motion(
    video_scp: PathLike,
    output_dir: PathLike,
    wav_scp: Optional[PathLike] = None,
    model: str = "s3d",
    pretrained: Optional[str] = None,
    seed: int = 0,
    rows_per_second: Optional[float] = None,
    batch_size: int = 8,
    device: str = "cpu",
    dtype: str = "float32",
    allow_empty: bool = False,
    allow_pipes: bool = False,
    audio_stream: Optional[int] = None,
    build: Optional[Callable[..., Tuple[Any, float]]] = None,
) -> None:
    """Encode windows of every clip's pictures; what a cut-off run has finished stays.

    A clip of d seconds of sound has T = ceil(d * rows_per_second) rows, at least one.
    Row i is the network's feature of the window around (i + 1/2) / T of the sound.
    Where a window reaches beyond the sound, its first or last picture is held. Optical
    flow of row i goes from the picture at i / T to the one at (i + 1) / T of the sound;
    a clip that shows a single picture has none, and is left out.

    Args:
        video_scp: clip -> video file, or folder of images, which are taken as spread
            evenly over the sound.
        output_dir: Gets motion.ark, motion_shape, motion_skipped.tsv, motion_info.yaml
            and, last, motion.scp.
        wav_scp: clip -> its sound, for its duration; None takes the video's own.
        model: See motion_encoder.load_motion_encoder.
        pretrained: As above.
        seed: As above.
        rows_per_second: Rows per second of sound; None: 1 of a video network, 8 of
            optical flow.
        batch_size: Windows encoded together.
        device: "cpu", "cuda", "cuda:N" or "auto".
        dtype: "float32" or "bfloat16".
        allow_empty: Whether empty tables are fine where no clip can be used.
        allow_pipes: Whether ``wav_scp`` may hold commands.
        audio_stream: See media.sound.find_sound.
        build: Builds the network (None: motion_encoder.load_motion_encoder).

    Raises:
        InputError: no clip can be used, weights that cannot be had, tables that do not
            fit, disk full, another process works here.
    """
    if rows_per_second is None:
        rows_per_second = RATES.get(model, 1.0)
    if pretrained is None:
        pretrained = WEIGHTS.get(model)
    check_positive(motion_rate=rows_per_second, batch_size=batch_size)
    videos, wavs = read_clips(video_scp, wav_scp, allow_pipes)
    chosen: Dict[str, Any] = {"model": model, "pretrained": pretrained, "seed": seed}
    how: Dict[str, Any] = {"rows_per_second": rows_per_second}
    if audio_stream is not None:
        how["audio_stream"] = audio_stream
    if model in FLOWS:
        how["flow_version"] = FLOW_VERSION
    # "colours" tells rows from those of version 0.1, whose pictures were darker.
    settings = {**chosen, **how, "dtype": dtype, "colours": "exact"}
    if pretrained is not None and os.path.isfile(pretrained):
        settings["file"] = signature(pretrained)

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        from espnet2_avsep.visual.motion_features.motion_encoder import (
            load_motion_encoder,
        )

        network, rate = (build or load_motion_encoder)(
            **chosen,
            device=str(choose_device(device)),
            dtype=dtype,
            batch_size=batch_size,
        )
        window = {"window": network.window}
        if rate is not None:
            window["window_fps"] = rate
        write_info(writer.folder / INFO, {**network.info, **window, **how})
        logging.info("motion: %s, on %s", network.info, network.device)

        def windows(key: str) -> Iterator[np.ndarray]:
            how_many = (rows_per_second, rate, network, audio_stream)
            return clip_windows(videos[key], wavs[key], *how_many)

        return encode_each(network, keys, windows)

    sources = {key: [signature(videos[key]), signature(wavs[key])] for key in videos}
    run_feature_job(
        video_scp, sources, output_dir, settings, results, allow_empty, NAME
    )


def copy_motion(
    video_scp: PathLike,
    output_dir: PathLike,
    folder: PathLike,
    utt2clip: Optional[PathLike] = None,
    allow_empty: bool = False,
) -> None:
    """Take the motion features of every clip from .npy files, named as iQuery's are.

    Args:
        video_scp: Its keys are the clips; its values are not looked at.
        output_dir: As for :func:`extract_motion`.
        folder: See MotionFiles.
        utt2clip: Table clip -> category/video_id; None: the id tells.
        allow_empty: As for :func:`extract_motion`.

    Raises:
        InputError: as for :func:`extract_motion`; there is no such folder.
    """
    videos = read_scp(video_scp)
    files = MotionFiles(folder, read_scp(utt2clip) if utt2clip is not None else None)

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        info = {"encoder": "precomputed", "folder": str(folder), "dim": CHANNELS}
        write_info(writer.folder / INFO, info)
        return each_clip(keys, files.load)

    sources: Dict[str, Any] = {}
    for key in videos:
        path = files.find(key)
        sources[key] = signature(str(path)) if path is not None else "no file"
    settings = {"precomputed": str(folder)}
    run_feature_job(
        video_scp,
        sources,
        output_dir,
        settings,
        results,
        allow_empty,
        NAME,
        what="a file of motion features",
    )


def clip_windows(
    video: str,
    wav: str,
    rows_per_second: Union[float, Fraction],
    rate: Union[None, float, Fraction],
    encoder,
    audio_stream: Optional[int] = None,
) -> Iterator[np.ndarray]:
    """Yield the windows of a clip's pictures, one for each row.

    Args:
        video: A video file, or a folder of images.
        wav: Where the sound is, whose duration and start count.
        rows_per_second: Rows per second of sound.
        rate: Pictures per second of a window; None: a window has the pictures at both
            ends of the row's time, and a clip must show more than one picture.
        encoder: A :class:`FrameEncoder` with a window.
        audio_stream: See media.sound.find_sound.

    Yields:
        (F, crop height, crop width, 3), uint8.

    Raises:
        ClipError: see extract.sound_on_video, frames.video_frames, frames.list_images;
            a single picture where there must be more.
    """
    from espnet2_avsep.data.audio.audio_io import audio_span

    folder = Path(video).is_dir()
    if folder:
        duration, start = audio_span(wav, audio_stream)[0], 0.0
    else:
        duration, start = sound_on_video(video, wav, audio_stream)
    if not 0 < duration * rows_per_second < MAX_ROWS:
        raise ClipError(wav, f"states {duration:.0f} s of sound, which cannot be")
    windows = window_times(duration, rows_per_second, rate, encoder.window)
    times = sorted({time for window in windows for time in window})
    resize = encoder.preprocessing.resize
    if folder:
        pictures = _folder_pictures(video, times, duration, resize)
    else:
        pictures = (image for _, image in video_frames(video, times, resize, start))
    shown: Dict[Fraction, np.ndarray] = {}
    row = 0
    first, moves = None, rate is not None
    for time, image in zip(times, pictures, strict=True):
        shown[time] = encoder.fit(image)
        first = shown[time] if first is None else first
        moves = moves or not np.array_equal(first, shown[time])
        while row < len(windows) and windows[row][-1] <= time:
            yield np.stack([shown[t] for t in windows[row]])
            row += 1
            if row < len(windows):
                shown = {t: shown[t] for t in shown if t >= windows[row][0]}
    if not moves:
        raise ClipError(video, "shows a single picture, which has no optical flow")


def window_times(
    duration: float,
    rows_per_second: Union[float, Fraction],
    rate: Union[None, float, Fraction],
    window: int,
) -> List[List[Fraction]]:
    """Return the times in s of the pictures of each row's window.

    Args:
        duration: Seconds of sound, above 0.
        rows_per_second: See :func:`clip_windows`.
        rate: Pictures per second of a window; None: see :func:`clip_windows`.
        window: Pictures of a window.

    Returns:
        Ascending times within [0, duration], for each row.
    """
    length = Fraction(duration)
    count = max(1, math.ceil(length * Fraction(rows_per_second)))
    if rate is None:
        return [[i * length / count, (i + 1) * length / count] for i in range(count)]
    rate = Fraction(rate)
    offsets = [(k - Fraction(window - 1, 2)) / rate for k in range(window)]
    centres = [(i + Fraction(1, 2)) * length / count for i in range(count)]
    return [
        [min(max(centre + offset, Fraction(0)), length) for offset in offsets]
        for centre in centres
    ]


def _folder_pictures(
    folder: str, times: List[Fraction], duration: float, resize
) -> Iterator[np.ndarray]:
    """Yield the image on show at each time, images spread evenly over the duration."""
    paths = list_images(folder)
    last, image = -1, None
    for time in times:
        number = min(int(time * len(paths) / Fraction(duration)), len(paths) - 1)
        if image is None or number != last:
            last, image = number, read_image(paths[number], resize)
        yield image
