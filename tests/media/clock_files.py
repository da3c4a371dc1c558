"""Files of every container whose click and flash are at known times.

The sound is a quiet tone with one click, the picture grey with one white picture. What
a kind of file does to the clock (a late stream, a hole in the sound, ...) is in KINDS.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import List, Optional

import av
import numpy as np

FPS = 25
SECONDS = 4.0
CLICK = 2.4  # s after the first sample of a file without a hole, and
FLASH = 2.0  # s after its first picture
LATE, HOLE_AT, HOLE, CLOCK = 0.72, 1.2, 0.32, 10.0
SIZE = (48, 64)

KINDS = (
    *("plain", "late sound", "late picture", "hole", "clock from 10 s"),
    *("unknown duration", "one picture", "variable rate"),
)


@dataclass(frozen=True)
class Container:
    """How a kind of container is written.

    Attributes:
        video: Encoder of the pictures; None: the container holds sound only.
        audio: Encoder of the sound.
        rate: Of the sound in Hz.
        lacks: Kinds of file that the container cannot hold.
        options: Of the video encoder.
    """

    video: Optional[str]
    audio: str
    rate: int = 48000
    lacks: tuple = ()
    options: tuple = ()


# Sound that has no time stamps of its own begins at 0 and has no holes.
NO_CLOCK = ("late sound", "hole", "clock from 10 s")
NO_PICTURE = ("late picture", "one picture", "variable rate")
B_FRAMES = (("bf", "3"),)
CONTAINERS = {
    "mp4": Container("libx264", "aac", options=B_FRAMES),
    "mov": Container("mpeg4", "aac", 44100),
    "mkv": Container("libx264", "libopus"),
    "mkv 2": Container("mpeg4", "pcm_s16le", 22050),
    "webm": Container("libvpx", "libopus"),
    "ts": Container("mpeg2video", "mp2"),
    "ts 2": Container("libx264", "aac", options=B_FRAMES),
    "flv": Container("flv1", "libmp3lame", 44100),
    "flv 2": Container("libx264", "aac", 44100, options=B_FRAMES),
    "avi": Container("mpeg4", "libmp3lame", 44100, NO_CLOCK + ("late picture",)),
    "avi 2": Container(
        "libx264", "pcm_s16le", 44100, NO_CLOCK + ("late picture",), B_FRAMES
    ),
    # Several pictures share a time stamp of MPEG-PS: their rate must be constant.
    "mpg": Container("mpeg2video", "mp2", 44100, ("variable rate",)),
    "ogg": Container(None, "libopus", 48000, NO_PICTURE + NO_CLOCK),
    "wav": Container(None, "pcm_s16le", 22050, NO_PICTURE + NO_CLOCK),
    "flac": Container(None, "flac", 16000, NO_PICTURE + NO_CLOCK),
    "mp3": Container(None, "libmp3lame", 44100, NO_PICTURE + NO_CLOCK),
    "m4a": Container(None, "aac", 44100, NO_PICTURE),
}


@dataclass(frozen=True)
class Clocked:
    """A file, and when things happen in it, in s after its first sample.

    Attributes:
        path: The file.
        click: Time of the click.
        flash: Time at which the white picture appears; None without pictures.
        seconds: Duration of the sound.
        pictures: Number of pictures.
    """

    path: Path
    click: float
    flash: Optional[float]
    seconds: float
    pictures: int


def picture_times(kind: str) -> List[float]:
    """Return the times of a file's pictures in s after the first one."""
    if kind == "one picture":
        return [0.0]
    times = [i / FPS for i in range(round(SECONDS * FPS))]
    if kind == "variable rate":
        # Two of three pictures are left out of the first second; never the white one.
        times = [t for i, t in enumerate(times) if i >= FPS or i % 3 == 0]
    return times


def write_clocked(folder: Path, container: str, kind: str) -> Clocked:
    """Write a file; see :data:`CONTAINERS` for what a container cannot hold."""
    how = CONTAINERS[container]
    container = container.split()[0]
    path = folder / f"{kind.replace(' ', '_')}.{container}"
    sound_start = CLOCK * (kind == "clock from 10 s") + LATE * (kind == "late sound")
    picture_start = CLOCK * (kind == "clock from 10 s")
    picture_start += LATE * (kind == "late picture")
    hole = HOLE if kind == "hole" else 0.0
    live = kind == "unknown duration"
    target = _Pipe(path) if live else str(path)
    options = _live_options(container) if live else {}
    with av.open(target, "w", format=_format(container), options=options) as output:
        video, packets = None, []
        if how.video is not None:
            video = output.add_stream(how.video, rate=FPS, options=dict(how.options))
            video.height, video.width = SIZE
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, FPS)
            video.codec_context.gop_size = 12
        audio = output.add_stream(how.audio, rate=how.rate, layout="mono")
        audio.bit_rate = 96000
        if video is not None:
            for time in picture_times(kind):
                white = kind == "one picture" or abs(time - FLASH) < 0.5 / FPS
                packets += video.encode(_picture(picture_start + time, white))
            packets += video.encode(None)
        for frame in _sound(audio, how.rate, sound_start, hole):
            packets += audio.encode(frame)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            output.mux(packet)
    if live and container == "flac":
        _forget_length(path)
    flash = None
    if video is not None:
        white = 0.0 if kind == "one picture" else FLASH
        flash = picture_start + white - sound_start
    pictures = len(picture_times(kind)) if video is not None else 0
    return Clocked(path, CLICK + hole, flash, SECONDS + hole, pictures)


class _Pipe:
    """A file that is written from front to back, as a live stream is."""

    def __init__(self, path: Path):
        self._file = path.open("wb")

    def write(self, content: bytes) -> int:
        return self._file.write(bytes(content))

    def close(self) -> None:
        self._file.close()


def _format(container: str) -> str:
    names = {"mkv": "matroska", "ts": "mpegts", "m4a": "ipod"}
    return names.get(container, "vob" if container == "mpg" else container)


def _live_options(container: str) -> dict:
    if container in ("mkv", "webm"):
        return {"live": "1"}
    if container in ("mp4", "mov", "m4a"):
        return {"movflags": "frag_keyframe+delay_moov"}
    return {}


def _picture(time: float, white: bool) -> av.VideoFrame:
    pixels = np.full((*SIZE, 3), 255 if white else 60, np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        format="yuv420p"
    )
    frame.pts, frame.time_base = round(time * FPS), Fraction(1, FPS)
    return frame


def _sound(stream, rate: int, start: float, hole: float):
    """Yield frames as long as the encoder's; none lies across the hole."""
    stream.codec_context.open(strict=False)
    time = np.arange(round(SECONDS * rate)) / rate
    samples = 0.05 * np.sin(2 * np.pi * 440 * time)
    click = round(CLICK * rate)
    samples[click : click + rate // 500] = 0.9
    size = stream.codec_context.frame_size or 1024
    planar = stream.codec_context.format.name
    for begin in range(0, len(samples), size):
        part = samples[None, begin : begin + size]
        if planar.startswith("s"):  # s16, s16p, s32p
            bits = int(planar[1:3])
            part = np.rint(part * (2 ** (bits - 1) - 1)).astype(f"int{bits}")
        else:
            part = part.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(part, format=planar, layout="mono")
        late = hole if begin >= HOLE_AT * rate else 0.0
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = begin + round((start + late) * rate)
        yield frame


def _forget_length(path: Path) -> None:
    """Set the number of samples in a FLAC's header to 0, "unknown"."""
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
