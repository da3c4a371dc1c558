"""A video with another sound: the picture is copied as it is, the sound encoded."""

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Iterator, Optional

import numpy as np

from espnet2_avsep.data.audio_blocks import AudioBlocks
from espnet2_avsep.data.media import (
    open_media,
    probe,
    tolerate_decode_error,
    video_stream,
)
from espnet2_avsep.data.scp import PathLike
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import local_url

# What AAC has; of other rates the sound is converted to the next higher one.
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
_FRAME = 1024


def write_video(video: PathLike, sound: PathLike, path: PathLike) -> bool:
    """Write an mp4 of the picture of one file and the sound of another.

    The picture's packets are copied; where an mp4 cannot hold their format, they are
    encoded again as H.264. The sound is encoded as AAC and begins where the sound of
    the video begins.

    Args:
        video: Where the picture is.
        sound: Where the sound is, of one or two channels (of more, the first two).
        path: The mp4; it appears whole or not at all.

    Returns:
        Whether the picture was copied.

    Raises:
        InputError: no picture, or neither way works.
    """
    import av

    path = Path(path)
    for copy in (True, False):
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".mp4"
        )
        os.close(handle)
        try:
            _write(Path(video), Path(sound), temporary, copy)
            with open(temporary, "rb") as f:
                os.fsync(f.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)
            return copy
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            problem = error
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
    raise InputError(
        f"{path}: the picture of {video} cannot be written to an mp4 ({problem}); "
        "leave the videos out with --mp4 false."
    ) from problem


def _write(video: Path, sound: Path, path: str, copy: bool) -> None:
    import av

    start = probe(video).audio_start
    blocks = AudioBlocks(sound)
    with (
        open_media(video) as source,
        av.open(local_url(path), "w", format="mp4") as target,
    ):
        picture = video_stream(source)
        if picture is None:
            raise InputError(f"{video}: has no picture.")
        if copy:
            out = target.add_stream_from_template(picture)
        else:
            out = target.add_stream("libx264", rate=picture.average_rate or 25)
            out.width = picture.codec_context.width // 2 * 2
            out.height = picture.codec_context.height // 2 * 2
            out.pix_fmt = "yuv420p"
        voice = target.add_stream(
            "aac",
            rate=next((r for r in AAC_RATES if r >= blocks.fs), AAC_RATES[-1]),
            layout="stereo" if blocks.channels > 1 else "mono",
        )
        frames = _frames(blocks, voice, start)
        ahead = next(frames, None)
        for packet in source.demux(picture):
            if packet.size == 0 and copy:
                continue
            if packet.dts is not None:
                # Players want the two interleaved, and the muxer holds what waits.
                until = packet.dts * packet.time_base
                while ahead is not None and ahead.pts * ahead.time_base <= until:
                    target.mux(voice.encode(ahead))
                    ahead = next(frames, None)
            if copy:
                packet.stream = out
                target.mux(packet)
            else:
                _encode_again(video, packet, out, target)
        if not copy:
            target.mux(out.encode())
        while ahead is not None:
            target.mux(voice.encode(ahead))
            ahead = next(frames, None)
        target.mux(voice.encode())


def _encode_again(video: Path, packet, out, target) -> None:
    import av

    try:
        frames = packet.decode()
    except av.error.InvalidDataError as error:
        time = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
        tolerate_decode_error(video, "video", time, None, error)
        return
    for frame in frames:
        frame = frame.reformat(out.width, out.height, "yuv420p")
        frame.pict_type = 0
        target.mux(out.encode(frame))


def _frames(blocks: AudioBlocks, voice, start: float) -> Iterator["av.AudioFrame"]:  # noqa: F821
    """Yield the sound as frames for the encoder, on the video's clock."""
    import av

    layout = voice.layout.name
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=voice.rate)
    at, first = 0, round(max(0.0, start) * voice.rate)
    given = 0

    def placed(frames) -> Iterator["av.AudioFrame"]:  # noqa: F821
        nonlocal given
        for frame in frames:
            frame.pts = first + given
            frame.time_base = Fraction(1, voice.rate)
            given += frame.samples
            yield frame

    for block in blocks:
        for begin in range(0, block.shape[-1], _FRAME):
            piece = np.ascontiguousarray(block[:2, begin : begin + _FRAME])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = blocks.fs, at
            frame.time_base = Fraction(1, blocks.fs)
            at += piece.shape[-1]
            yield from placed(resampler.resample(frame))
    yield from placed(resampler.resample(None))


def has_picture(path: PathLike) -> Optional[Path]:
    """Return a file's path where it holds a video, else None."""
    path = Path(path)
    return path if probe(path).has_video else None
