"""A video with another sound: the picture is copied as it is, the sound encoded."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import numpy as np

from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
from espnet2_avsep.data.tables.scp import PathLike, atomic_path
from espnet2_avsep.errors import InputError
from espnet2_avsep.media import clock
from espnet2_avsep.media.container import local_url, open_media
from espnet2_avsep.media.stream import probe, video_stream
from espnet2_avsep.media.timed_frames import is_out_of_order, timed_frames
from espnet2_avsep.media.video_encoder import VideoEncoder

# What AAC has; of other rates the sound is converted to the next higher one.
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
_FRAME = 1024
# Number of channels -> AAC's layout that keeps their order. Of seven, FFmpeg's encoder
# writes a layout that players do not know, and PyAV cannot give it eight.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}


class _NotCopiableError(ValueError):
    """Copied, these packets would not show what the source shows."""


def write_video(
    video: PathLike, sound: PathLike, path: PathLike, start: Optional[float] = None
) -> bool:
    """Write an mp4 of the picture of one file and the sound of another.

    The picture's packets are copied; where an mp4 cannot hold their format, or an edit
    list cuts the video in a way that an mp4 of ours cannot state, they are encoded
    again as H.264. Orientation, shape of the pixels and colours stay; times do, counted
    from clock.clock_begin. The sound is encoded as AAC and begins where the sound of
    the video begins.

    Args:
        video: Where the picture is.
        sound: Where the sound is. Up to six channels are kept, in their order; of more
            the mean is written.
        path: The mp4; it appears whole or not at all.
        start: Time on the video's clock of the first sample in s; None: that of the
            video's own sound.

    Returns:
        Whether the picture was copied.

    Raises:
        InputError: no picture, or neither way works.
    """
    import av

    if start is None:
        start = probe(video).audio_start
    for copy in (True, False):
        try:
            with atomic_path(path) as temporary:
                _write(Path(video), Path(sound), temporary, copy, start)
            return copy
        except InputError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            problem = error
    raise InputError(
        f"{path}: the picture of {video} cannot be written to an mp4 ({problem}); "
        "leave the videos out with --mp4 false."
    ) from problem


def _write(video: Path, sound: Path, path: str, copy: bool, start: float) -> None:
    import av

    blocks = AudioBlocks(sound)
    with (
        open_media(video) as source,
        av.open(local_url(path), "w", format="mp4") as target,
    ):
        picture = video_stream(source)
        if picture is None:
            raise InputError(f"{video}: has no picture.")
        packets = clock.packets(source)
        zero = clock.clock_begin(source)
        if copy:
            # opaque: FFmpeg may know no encoder of that name (libdav1d).
            out = target.add_stream_from_template(picture, opaque=True)
            pictures = _copied(packets, picture, out, zero)
        else:
            pictures = _encoded(video, packets, picture, target, zero)
        voice = target.add_stream(
            "aac",
            rate=next((r for r in AAC_RATES if r >= blocks.fs), AAC_RATES[-1]),
            layout=_LAYOUTS.get(blocks.channels, "mono"),
            # Three times faster than FFmpeg's default, and closer at the same rate.
            options={"aac_coder": "fast"},
        )
        frames = _frames(blocks, voice, start - float(zero))
        ahead = next(frames, None)
        for time, content in pictures:
            # Players want the two interleaved, and the muxer holds what waits.
            while (
                time is not None
                and ahead is not None
                and ahead.pts * ahead.time_base <= time
            ):
                target.mux(voice.encode(ahead))
                ahead = next(frames, None)
            target.mux(content)
        while ahead is not None:
            target.mux(voice.encode(ahead))
            ahead = next(frames, None)
        target.mux(voice.encode())


# Time in s, and the packets to be muxed next.
_Pictures = Iterator[Tuple[Optional[Fraction], List["av.Packet"]]]  # noqa: F821


def _copied(
    packets: Iterator["av.Packet"],  # noqa: F821
    picture,
    out,
    zero: Fraction,
) -> _Pictures:
    """Yield the packets of the pictures that the source shows.

    Raises:
        _NotCopiableError: the packets have no time stamps; pictures after the first are
            hidden, but others need them.
    """
    if is_out_of_order(picture):
        raise _NotCopiableError("the pictures have no time stamps")
    shown = hidden = False
    for packet in packets:
        if packet.size == 0 or packet.stream_index != picture.index:
            continue
        if packet.is_discard and shown:
            hidden = True  # of a video that was cut: behind its end, if none follows
            continue
        if hidden:
            raise _NotCopiableError("pictures are cut out of the middle of the video")
        shown = shown or not packet.is_discard
        if shift := round(zero / packet.time_base):
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = out
        time = packet.dts
        yield (None if time is None else time * packet.time_base), [packet]


def _encoded(video: Path, packets, picture, target, zero: Fraction) -> _Pictures:
    """Yield the pictures encoded again; the encoder's stream is there at once."""
    frames = timed_frames(packets, picture, skip_damaged=True)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{video}: no picture can be decoded.")
    encoder = VideoEncoder(target, picture, first[1])

    def pictures() -> _Pictures:
        for time, frame in itertools.chain([first], frames):
            yield time - zero, encoder.encode(time - zero, frame)
        yield None, encoder.flush()

    return pictures()


def _frames(blocks: AudioBlocks, voice, start: float) -> Iterator["av.AudioFrame"]:  # noqa: F821
    """Yield the sound as frames for the encoder, the first one at ``start`` s."""
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
        if blocks.channels not in _LAYOUTS:
            block = block.mean(axis=0, keepdims=True)
        for begin in range(0, block.shape[-1], _FRAME):
            piece = np.ascontiguousarray(block[:, begin : begin + _FRAME])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = blocks.fs, at
            frame.time_base = Fraction(1, blocks.fs)
            at += piece.shape[-1]
            yield from placed(resampler.resample(frame))
    yield from placed(resampler.resample(None))
