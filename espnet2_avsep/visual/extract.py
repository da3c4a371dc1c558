"""Embeddings of the pictures of many clips, or the pictures, packed into one ark."""

import contextlib
import functools
import logging
import os
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

from espnet2_avsep.cli.feature_options import ClipTable, tables
from espnet2_avsep.data.audio.audio_format import AudioStore
from espnet2_avsep.data.audio.audio_io import AudioTap, audio_span, resample
from espnet2_avsep.data.features import FeatureWriter, PrecomputedFeatures
from espnet2_avsep.data.records.journal import signature
from espnet2_avsep.data.tables.clip_id import check_id
from espnet2_avsep.data.tables.table_entry import is_command
from espnet2_avsep.device import choose_device
from espnet2_avsep.lean_imports import import_lean_torch
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.file_name import is_image_name
from espnet2_avsep.media.picture import read_image
from espnet2_avsep.media.stream import probe
from espnet2_avsep.visual.batches import (  # noqa: F401  (names of version 0.1)
    encode_clips,
    encode_each,
    in_background,
)
from espnet2_avsep.visual.boxes.box_source import BoxSource
from espnet2_avsep.visual.feature_job import (
    MAX_ROWS,
    Result,
    copy_features,
    each_clip,
    read_clips,
    run_feature_job,
    write_info,
)
from espnet2_avsep.visual.frame_packer import FramePacker
from espnet2_avsep.visual.frames import (
    Demux,
    Resize,
    exact,
    folder_frames,
    sample_times,
    video_frames,
)
from espnet2_avsep.visual.visual_options import FRAMES, REGIONS, VisualOptions

INFO = "visual_info.yaml"
# Cropper.cut of a clip: (time in s, picture) pairs, encoder -> pictures.
Crop = Callable[[Iterator[Tuple[float, np.ndarray]], Any], Iterator[np.ndarray]]
# Encoders to which earlier versions gave the middle of a box only.
_CUT_BOXES = ("resnet18",)
ROW_TIME = "(i + 1/2) / n of the sound"


def extract_visual(args: VisualOptions, squeezed: bool = False) -> None:
    """Encode, or pack, sampled pictures of every clip, or copy precomputed features.

    A clip of d seconds of sound has n = ceil(d * fps / every) rows, at least one. Row i
    is the picture on show at (i + 1/2) / n of the sound; of a folder of images, which
    are taken as spread evenly over the sound, likewise one in ``every`` is taken. A
    picture without a sound has one row. Packed pictures (for networks that are trained
    on them) are JPEGs in one file (data/frame_store.py). What a cut-off run has
    finished stays.

    With ``audio_dir``, it gets the sound of clips whose pictures are read, as stage 3
    would write it, where it lies in the same file and is without fault: the file is
    read once for both. What is not in it afterwards is left to stage 3.

    Args:
        args: The tables of clips, and what is made of each: visual.ark, visual_shape,
            visual_skipped.tsv, visual_info.yaml, with boxes visual_boxes.tsv, and,
            last, visual.scp.
        squeezed: Whether an encoder gets all of each picture, squeezed to its square:
            crops for a model that was trained on boxes.

    Raises:
        InputError: no clip can be used, weights that cannot be had, tables that do not
            fit, disk full, another process works here.
    """

    # One network for all tables, made when the first clip needs it.
    @functools.cache
    def network() -> Any:
        import_lean_torch()
        from espnet2_avsep.visual.build import build_encoder

        encoder = build_encoder(
            **_chosen(args),
            device=str(choose_device(args.device)),
            dtype=args.dtype,
            batch_size=args.batch_size,
        )
        if squeezed:
            encoder.preprocessing = encoder.preprocessing.squeezed()
        return encoder

    for table in tables(args):
        if args.precomputed is not None:
            read = partial(PrecomputedFeatures, args.precomputed)
            copy_features(table, read, args.allow_empty)
            continue
        with contextlib.ExitStack() as stack:
            audio = None
            if table.audio_dir is not None:
                store = (table.audio_dir, args.fs, args.audio_format, args.audio_stream)
                audio = stack.enter_context(AudioStore(*store))
            _extract(args, table, network, audio, squeezed)


def _extract(
    args: VisualOptions,
    table: ClipTable,
    network: Callable[[], Any],
    audio: Optional[AudioStore],
    squeezed: bool,
) -> None:
    """Encode or pack the pictures of a table; see :func:`extract_visual`."""
    videos, wavs = read_clips(table.video_scp, table.wav_scp, args.allow_pipes)
    if audio is not None:
        for key in videos:
            check_id(table.video_scp, key)
    boxes = None if args.visual_boxes is None else BoxSource(args, table.utt2clip)
    packer, how = None, _sampling(args, table.region)
    if args.visual_encoder == FRAMES:
        packer = FramePacker(args.visual_size, args.jpeg_quality)
        settings = {**packer.info, **how}
    else:
        settings = {**_chosen(args), **how, "dtype": args.dtype}
        if args.visual_pretrained is not None and os.path.isfile(
            args.visual_pretrained
        ):
            settings["file"] = signature(args.visual_pretrained)
    if squeezed:
        settings["squeezed"] = True
    if boxes is not None:
        settings["cropped"] = boxes.settings
        if args.visual_encoder in _CUT_BOXES:
            settings["cropped"] = {**boxes.settings, "whole_boxes": True}

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        encoder = packer or network()
        cropper, cropped = None, {}
        if boxes is not None:
            cropper, cropped = boxes.build(keys, args.device)
        write_info(writer.folder / INFO, {**encoder.info, **how, **cropped})
        rate = exact(args.fps) / args.every

        def pictures(key: str) -> Iterator[np.ndarray]:
            video, wav, tap = videos[key], wavs[key], None
            if (
                audio is not None
                and _shares_its_file(video, wav)
                and not audio.is_finished(key, wav)
            ):
                tap = AudioTap(wav, args.audio_stream)
            crop = None if cropper is None else partial(cropper.cut, key)
            for image in clip_pictures(
                *(video, wav, rate, args.every, encoder, tap, table.region, crop),
                args.audio_stream,
            ):
                if tap is not None and tap.audio is not None:
                    samples = resample(*tap.audio, audio.fs)
                    tap.audio = None
                    audio.write(key, samples, wav)
                yield image

        if packer is not None:
            return each_clip(keys, lambda key: packer.pack(pictures(key)))
        logging.info("encoder: %s, on %s", encoder.info, encoder.device)
        return encode_each(encoder, keys, pictures)

    sources = {
        key: [
            signature(videos[key]),
            signature(wavs[key]),
            *([] if boxes is None else [boxes.source(key)]),
        ]
        for key in videos
    }
    run_feature_job(
        *(table.video_scp, sources, table.output_dir, settings, results),
        args.allow_empty,
        boxes=boxes,
    )


def clip_pictures(
    video: str,
    wav: str,
    rate: Fraction,
    every: int,
    encoder,
    demux: Optional[Demux] = None,
    region: str = "whole",
    crop: Optional[Crop] = None,
    audio_stream: Optional[int] = None,
) -> Iterator[np.ndarray]:
    """Yield the sampled pictures of a clip, as the encoder takes them.

    Args:
        video: A video file, a picture or a folder of images.
        wav: Where the sound is, whose duration and start count; of a folder it is not
            looked at, and a picture that is its own sound has none.
        rate: Pictures per second of sound.
        every: Take every n-th image of a folder.
        encoder: A :class:`FrameEncoder` or :class:`FramePacker`.
        demux: Of a video file; see :func:`video_frames`.
        region: The part of the pictures, a key of REGIONS.
        crop: Cuts the pictures, which come in their own size, out around boxes.
        audio_stream: See media.sound.find_sound.

    Yields:
        (crop height, crop width, 3), uint8.

    Raises:
        ClipError: see :func:`video_frames`, :func:`folder_frames`, :func:`audio_span`.
    """
    # A part is scaled after it was cut out of the picture in its own size.
    whole = region == "whole" and crop is None
    resize = encoder.preprocessing.resize if whole else None
    images = _sampled_pictures(video, wav, rate, every, resize, demux, audio_stream)
    if crop is not None:
        yield from crop(images, encoder)
        return
    for _, image in images:
        yield encoder.fit(_cut(image, region))


def _sampled_pictures(
    video: str,
    wav: str,
    rate: Fraction,
    every: int,
    resize: Optional[Resize],
    demux: Optional[Demux],
    audio_stream: Optional[int] = None,
) -> Iterator[Tuple[float, np.ndarray]]:
    """Yield time in s and picture (H, W, 3) of a clip; see :func:`clip_pictures`."""
    if Path(video).is_dir():
        for number, image in folder_frames(video, every, resize):
            yield float(number / (rate * every)), image
        return
    if wav == video and is_image_name(Path(video).name):
        yield 0.0, read_image(video, resize)
        return
    duration, start = sound_on_video(video, wav, audio_stream)
    if duration * rate > MAX_ROWS:
        raise ClipError(wav, f"states {duration:.0f} s of sound, which cannot be")
    times = sample_times(duration, rate)
    yield from video_frames(video, times, resize, start, demux=demux)


def sound_on_video(
    video: str, wav: str, audio_stream: Optional[int] = None
) -> Tuple[float, float]:
    """Return how long a clip sounds, and when that begins on its video's clock, in s.

    Raises:
        ClipError: no picture, no sound, or unreadable.
    """
    if not probe(video).has_video:
        raise ClipError(video, "no video stream", "A file with a picture is needed.")
    duration, start = audio_span(wav, audio_stream)
    return duration, start if wav == video else probe(video).start


def _cut(image: np.ndarray, region: str) -> np.ndarray:
    """Return a part of a picture (H, W, 3)."""
    first, last = REGIONS[region]
    width = image.shape[1]
    return image[:, round(first * width) : round(last * width)]


def _chosen(args: VisualOptions) -> Dict[str, Any]:
    return {
        "encoder": args.visual_encoder,
        "model": args.visual_model,
        "pretrained": args.visual_pretrained,
        "seed": args.seed,
    }


def _sampling(args: VisualOptions, region: str) -> Dict[str, Any]:
    # "row_time" tells rows from those of earlier versions, taken at i * every / fps s.
    fps = int(args.fps) if args.fps == int(args.fps) else args.fps
    found = {"fps": fps, "every": args.every, "row_time": ROW_TIME}
    if args.audio_stream is not None:
        found["audio_stream"] = args.audio_stream
    if region != "whole":
        found["region"] = region
    return found


def _shares_its_file(video: str, wav: str) -> bool:
    return wav == video and not is_command(wav) and not Path(video).is_dir()
