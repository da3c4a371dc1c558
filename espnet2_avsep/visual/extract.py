"""Embeddings of the pictures of many clips, or the pictures, packed into one ark."""

import logging
import os
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

from espnet2_avsep.data.audio.audio_format import AudioStore
from espnet2_avsep.data.audio.audio_io import AudioTap, audio_span, resample
from espnet2_avsep.data.features import FeatureWriter, PrecomputedFeatures
from espnet2_avsep.data.frame_store import PackedFrames
from espnet2_avsep.data.records.journal import signature
from espnet2_avsep.data.tables.clip_id import check_id
from espnet2_avsep.data.tables.scp import PathLike, read_scp
from espnet2_avsep.data.tables.table_entry import is_command
from espnet2_avsep.device import choose_device
from espnet2_avsep.errors import InputError
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
    check_positive,
    each_clip,
    read_clips,
    run_feature_job,
    write_info,
)
from espnet2_avsep.visual.frame_packer import FramePacker
from espnet2_avsep.visual.frames import (
    Demux,
    Resize,
    folder_frames,
    sample_times,
    video_frames,
)

INFO = "visual_info.yaml"
# Cropper.cut of a clip: (time in s, picture) pairs, encoder -> pictures.
Crop = Callable[[Iterator[Tuple[float, np.ndarray]], Any], Iterator[np.ndarray]]
ROW_TIME = "(i + 1/2) / n of the sound"
# Parts of a picture: where they begin and end, as shares of its width.
REGIONS = {"whole": (0.0, 1.0), "left": (0.0, 0.5), "right": (0.5, 1.0)}


def extract_visual(
    video_scp: PathLike,
    output_dir: PathLike,
    wav_scp: Optional[PathLike] = None,
    encoder: str = "open_clip",
    model: str = "ViT-B-32",
    pretrained: Optional[str] = None,
    seed: int = 0,
    fps: float = 8,
    every: int = 8,
    batch_size: int = 32,
    device: str = "cpu",
    dtype: str = "float32",
    allow_empty: bool = False,
    audio: Optional[AudioStore] = None,
    region: str = "whole",
    boxes: Optional[BoxSource] = None,
    allow_pipes: bool = False,
    audio_stream: Optional[int] = None,
    build: Optional[Callable[..., Any]] = None,
) -> None:
    """Encode sampled pictures of every clip; what a cut-off run has finished stays.

    A clip of d seconds of sound has n = ceil(d * fps / every) rows, at least one. Row i
    is the picture on show at (i + 1/2) / n of the sound; of a folder of images, which
    are taken as spread evenly over the sound, likewise one in ``every`` is taken. A
    picture without a sound has one row.

    Args:
        video_scp: clip -> video file, picture, or folder of images.
        output_dir: Gets visual.ark, visual_shape, visual_skipped.tsv, visual_info.yaml
            and, last, visual.scp.
        wav_scp: clip -> its sound, for its duration; null takes the video's own.
        encoder: "open_clip" or "resnet18".
        model: open_clip's model name.
        pretrained: Tag, path or "random"; null takes the encoder's default.
        seed: Of random weights.
        fps: Pictures a second.
        every: Encode every n-th picture.
        batch_size: Pictures encoded together.
        device: "cpu", "cuda", "cuda:N" or "auto".
        dtype: "float32" or "bfloat16".
        allow_empty: Whether empty tables are fine where no clip can be used.
        audio: Gets the sound of the clips that are encoded, as
            data/audio/audio_format.py would write it, where it lies in the same file
            and is without fault: the file is read once for both. What is not in it
            afterwards is left to that module.
        region: The part of the pictures that is encoded, a key of REGIONS.
        boxes: Pictures are cut out around these boxes; visual_boxes.tsv says where.
        allow_pipes: Whether ``wav_scp`` may hold commands.
        audio_stream: See media.sound.find_sound.
        build: Builds the encoder (None: build.build_encoder); give the same one to
            several calls, with a cache, and they share it.

    Raises:
        InputError: no clip can be used, weights that cannot be had, tables that do not
            fit, disk full, another process works here.
    """
    check_positive(fps=fps, every=every, batch_size=batch_size)
    videos, wavs = read_clips(video_scp, wav_scp, allow_pipes)
    if audio is not None:
        for key in videos:
            check_id(video_scp, key)
    chosen: Dict[str, Any] = {
        "encoder": encoder,
        "model": model,
        "pretrained": pretrained,
        "seed": seed,
    }
    how = _sampling(fps, every, audio_stream)
    if region not in REGIONS:
        raise InputError(f"--region {region}: expected {', '.join(REGIONS)}.")
    if region != "whole":
        how["region"] = region
    if region != "whole" and boxes is not None:
        raise InputError(f"--region {region} does not go with --visual_boxes.")
    settings = {**chosen, **how, "dtype": dtype, **_box_settings(boxes)}
    if pretrained is not None and os.path.isfile(pretrained):
        settings["file"] = signature(pretrained)

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        from espnet2_avsep.visual.build import build_encoder

        network = (build or build_encoder)(
            **chosen,
            device=str(choose_device(device)),
            dtype=dtype,
            batch_size=batch_size,
        )
        cut, more = _cropping(boxes, keys, device)
        write_info(writer.folder / INFO, {**network.info, **how, **more})
        logging.info("encoder: %s, on %s", network.info, network.device)
        rate = Fraction(fps) / every

        def pictures(key: str) -> Iterator[np.ndarray]:
            video, wav, tap = videos[key], wavs[key], None
            if (
                audio is not None
                and _shares_its_file(video, wav)
                and not audio.is_finished(key, wav)
            ):
                tap = AudioTap(wav, audio_stream)
            crop = cut and partial(cut, key)
            for image in clip_pictures(
                *(video, wav, rate, every, network, tap, region, crop, audio_stream)
            ):
                if tap is not None and tap.audio is not None:
                    samples = resample(*tap.audio, audio.fs)
                    tap.audio = None
                    audio.write(key, samples, wav)
                yield image

        return encode_each(network, keys, pictures)

    sources = _sources(videos, wavs, boxes)
    run_feature_job(
        video_scp, sources, output_dir, settings, results, allow_empty, boxes=boxes
    )


def pack_frames(
    video_scp: PathLike,
    output_dir: PathLike,
    wav_scp: Optional[PathLike] = None,
    size: int = 268,
    jpeg_quality: int = 90,
    fps: float = 8,
    every: int = 8,
    allow_empty: bool = False,
    boxes: Optional[BoxSource] = None,
    device: str = "cpu",
    allow_pipes: bool = False,
    audio_stream: Optional[int] = None,
) -> None:
    """Pack sampled pictures of every clip as JPEGs, for networks trained on them.

    Which pictures they are is as for :func:`extract_visual`. All pictures of all clips
    go to one file (data/frame_store.py), never one file a picture.

    Args:
        video_scp: clip -> video file, or folder of images.
        output_dir: As for :func:`extract_visual`.
        wav_scp: As for :func:`extract_visual`.
        size: Side of the square pictures in pixels: the shorter side is scaled to it,
            and the middle cut out. (Sound of Pixels crops 224 from 268.)
        jpeg_quality: 1 to 95.
        fps: Pictures a second.
        every: Take every n-th picture.
        allow_empty: As for :func:`extract_visual`.
        boxes: As for :func:`extract_visual`.
        device: Where a detector computes.
        allow_pipes: As for :func:`extract_visual`.
        audio_stream: As for :func:`extract_visual`.

    Raises:
        InputError: as for :func:`extract_visual`.
    """
    check_positive(fps=fps, every=every)
    videos, wavs = read_clips(video_scp, wav_scp, allow_pipes)
    packer = FramePacker(size, jpeg_quality)
    info = {**packer.info, **_sampling(fps, every, audio_stream)}

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        cut, more = _cropping(boxes, keys, device)
        write_info(writer.folder / INFO, {**info, **more})
        rate = Fraction(fps) / every

        def load(key: str) -> PackedFrames:
            pictures = clip_pictures(
                videos[key],
                wavs[key],
                rate,
                every,
                packer,
                crop=cut and partial(cut, key),
                audio_stream=audio_stream,
            )
            return packer.pack(pictures)

        return each_clip(keys, load)

    settings = {**info, **_box_settings(boxes)}
    sources = _sources(videos, wavs, boxes)
    run_feature_job(
        video_scp, sources, output_dir, settings, results, allow_empty, boxes=boxes
    )


def copy_precomputed(
    video_scp: PathLike,
    output_dir: PathLike,
    precomputed: PathLike,
    utt2clip: Optional[PathLike] = None,
    allow_empty: bool = False,
) -> None:
    """Take the embeddings of every clip as they are, from a kaldi scp or HDF5 file.

    Args:
        video_scp: Its keys are the clips; its values are not looked at.
        output_dir: As for :func:`extract_visual`.
        precomputed: See :class:`PrecomputedFeatures`.
        utt2clip: Table clip -> category/video_id.
        allow_empty: As for :func:`extract_visual`.

    Raises:
        InputError: as for :func:`extract_visual`, or rows of different widths.
    """
    videos = read_scp(video_scp)
    clips = read_scp(utt2clip) if utt2clip is not None else None
    features = PrecomputedFeatures(precomputed, clips)

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        to_load = set(keys)
        for key, entry in writer.entries.items():
            if key in videos and key not in to_load:
                features.check_width(key, entry["shape"][1])
        yield from each_clip(keys, features.load)
        write_info(
            writer.folder / INFO,
            {
                "encoder": "precomputed",
                "file": str(precomputed),
                "bytes": Path(precomputed).stat().st_size,
                "dim": features.dim,
            },
        )

    settings = {"precomputed": signature(str(precomputed))}
    sources = {key: features.source(key) for key in videos}
    run_feature_job(video_scp, sources, output_dir, settings, results, allow_empty)


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


def _sampling(fps: float, every: int, audio_stream: Optional[int]) -> Dict[str, Any]:
    # "row_time" tells rows from those of earlier versions, taken at i * every / fps s.
    fps = int(fps) if fps == int(fps) else fps
    found = {"fps": fps, "every": every, "row_time": ROW_TIME}
    if audio_stream is not None:
        found["audio_stream"] = audio_stream
    return found


def _shares_its_file(video: str, wav: str) -> bool:
    return wav == video and not is_command(wav) and not Path(video).is_dir()


def _box_settings(boxes: Optional[BoxSource]) -> Dict[str, Any]:
    return {} if boxes is None else {"cropped": boxes.settings}


def _cropping(
    boxes: Optional[BoxSource], keys: List[str], device: str
) -> Tuple[Optional[Callable], Dict[str, Any]]:
    """Return what cuts pictures out, Cropper.cut, and what visual_info.yaml says."""
    if boxes is None:
        return None, {}
    cropper, info = boxes.build(keys, device)
    return cropper.cut, info


def _sources(
    videos: Dict[str, str], wavs: Dict[str, str], boxes: Optional[BoxSource]
) -> Dict[str, Any]:
    """Return clip -> what tells whether it is still the same."""
    return {
        key: [
            signature(videos[key]),
            signature(wavs[key]),
            *([] if boxes is None else [boxes.source(key)]),
        ]
        for key in videos
    }
