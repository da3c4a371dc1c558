"""Motion features of many clips: rows of a video network or of optical flow."""

import functools
import logging
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import numpy as np

from espnet2_avsep.cli.feature_options import ClipTable, tables
from espnet2_avsep.data.features import FeatureWriter
from espnet2_avsep.data.records.journal import signature
from espnet2_avsep.device import choose_device
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.picture import read_image
from espnet2_avsep.visual.batches import encode_each
from espnet2_avsep.visual.extract import sound_on_video
from espnet2_avsep.visual.feature_job import (
    MAX_ROWS,
    Result,
    copy_features,
    read_clips,
    run_feature_job,
    write_info,
)
from espnet2_avsep.visual.frames import exact, list_images, video_frames
from espnet2_avsep.visual.motion_features.motion_names import FLOWS, RATES, WEIGHTS
from espnet2_avsep.visual.motion_features.motion_options import MotionOptions
from espnet2_avsep.visual.motion_features.precomputed_motion import MotionFiles

NAME = "motion"
FLOW_VERSION = 1  # to be raised when the same pictures give other rows of flow
INFO = "motion_info.yaml"


def extract_motion(args: MotionOptions) -> None:
    """Encode windows of every clip's pictures, or copy precomputed features.

    A clip of d seconds of sound has T = ceil(d * rows_per_second) rows, at least one.
    Row i is the network's feature of the window around (i + 1/2) / T of the sound.
    Where a window reaches beyond the sound, its first or last picture is held. Optical
    flow of row i goes from the picture at i / T to the one at (i + 1) / T of the sound;
    a clip that shows a single picture has none, and is left out. Of a folder of images,
    these are taken as spread evenly over the sound. What a cut-off run has finished
    stays.

    Args:
        args: The tables of clips, and what is made of each: motion.ark, motion_shape,
            motion_skipped.tsv, motion_info.yaml and, last, motion.scp.

    Raises:
        InputError: no clip can be used, weights that cannot be had, tables that do not
            fit, disk full, another process works here.
    """
    chosen: Dict[str, Any] = {
        "model": args.motion_encoder,
        "pretrained": args.motion_pretrained or WEIGHTS[args.motion_encoder],
        "seed": args.seed,
    }

    # One network for all tables, made when the first clip needs it.
    @functools.cache
    def build() -> Tuple[Any, Optional[float]]:
        from espnet2_avsep.visual.motion_features.motion_encoder import (
            load_motion_encoder,
        )

        return load_motion_encoder(
            **chosen,
            device=str(choose_device(args.device)),
            dtype=args.dtype,
            batch_size=args.batch_size,
        )

    for table in tables(args):
        if args.motion_precomputed is not None:
            read = functools.partial(MotionFiles, args.motion_precomputed)
            what = "a file of motion features"
            copy_features(table, read, args.allow_empty, NAME, what)
        else:
            _extract(args, table, chosen, build)


def _extract(
    args: MotionOptions,
    table: ClipTable,
    chosen: Dict[str, Any],
    build: Callable[[], Tuple[Any, Optional[float]]],
) -> None:
    """Encode the windows of a table; see :func:`extract_motion`."""
    videos, wavs = read_clips(table.video_scp, table.wav_scp, args.allow_pipes)
    rows_per_second = args.motion_rate or RATES[args.motion_encoder]
    how: Dict[str, Any] = {"rows_per_second": rows_per_second}
    if args.audio_stream is not None:
        how["audio_stream"] = args.audio_stream
    if args.motion_encoder in FLOWS:
        how["flow_version"] = FLOW_VERSION
    # "colours" tells rows from those of version 0.1, whose pictures were darker.
    settings = {**chosen, **how, "dtype": args.dtype, "colours": "exact"}
    pretrained = chosen["pretrained"]
    if pretrained is not None and os.path.isfile(pretrained):
        settings["file"] = signature(pretrained)

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        network, rate = build()
        window = {"window": network.window}
        if rate is not None:
            window["window_fps"] = rate
        write_info(writer.folder / INFO, {**network.info, **window, **how})
        logging.info("motion: %s, on %s", network.info, network.device)

        def windows(key: str) -> Iterator[np.ndarray]:
            how_many = (rows_per_second, rate, network, args.audio_stream)
            return clip_windows(videos[key], wavs[key], *how_many)

        return encode_each(network, keys, windows)

    sources = {key: [signature(videos[key]), signature(wavs[key])] for key in videos}
    run_feature_job(
        *(table.video_scp, sources, table.output_dir, settings, results),
        *(args.allow_empty, NAME),
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
    length = exact(duration)
    count = max(1, math.ceil(length * exact(rows_per_second)))
    if rate is None:
        return [[i * length / count, (i + 1) * length / count] for i in range(count)]
    rate = exact(rate)
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
        number = min(int(time * len(paths) / exact(duration)), len(paths) - 1)
        if image is None or number != last:
            last, image = number, read_image(paths[number], resize)
        yield image
