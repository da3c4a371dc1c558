"""Small videos and sounds, made when a test needs them, whose content is known.

The picture of frame i shows the number i as ten bars, black for 0 and white for 1, so
that any picture taken from a video tells which frame it is, at any size.
"""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Callable, Optional, Sequence

import av
import numpy as np
import soundfile

BITS = 10


def paint_number(number: int, height: int = 64, width: int = 160) -> np.ndarray:
    """Return the picture (H, W, 3), uint8, of a number below 1024."""
    bits = [number >> k & 1 for k in range(BITS)]
    row = np.repeat(bits, width // BITS) * 255
    return np.broadcast_to(row[None, :, None], (height, width, 3)).astype(np.uint8)


def read_number(image: np.ndarray) -> int:
    """Return the number that a picture of any size shows."""
    row = image[image.shape[0] // 2].mean(axis=-1)
    step = len(row) / BITS
    return sum(int(row[int((k + 0.5) * step)] > 127) << k for k in range(BITS))


def tone(seconds: float, rate: int, hertz: float = 440.0, level: float = 0.5):
    """Return a sine, float32, (L,)."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write_video(
    path: Path,
    frames: int = 50,
    fps: int = 25,
    audio: Optional[np.ndarray] = None,
    rate: int = 22050,
    codec: str = "libx264",
    gop: int = 12,
    paint: Callable[[int], np.ndarray] = paint_number,
    options: Optional[dict] = None,
    container_options: Optional[dict] = None,
    audio_codec: str = "aac",
    pixels: str = "yuv420p",
) -> Path:
    """Write a video file.

    Args:
        path: Its ending chooses the container.
        frames: Number of pictures; 0 writes no video stream.
        fps: Pictures per second.
        audio: (L,) or (C, L), float32; None writes no audio stream.
        rate: Of the audio in Hz.
        codec: Of the picture.
        gop: Distance of key frames.
        paint: Number of a picture -> (H, W, 3), uint8.
        options: Of the video encoder.
        container_options: Of the container.
        audio_codec: Of the sound.
        pixels: Pixel format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(
        str(path), "w", container_options=container_options or {}
    ) as container:
        video = sound = None
        if frames:
            video = container.add_stream(codec, rate=fps, options=options or {})
            video.height, video.width = paint(0).shape[:2]
            video.pix_fmt = pixels
            video.codec_context.gop_size = gop
        if audio is not None:
            audio = np.atleast_2d(audio)
            layout = {1: "mono", 2: "stereo"}[len(audio)]
            sound = container.add_stream(audio_codec, rate=rate, layout=layout)
        sent = 0
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(paint(i), format="rgb24")
            container.mux(video.encode(picture))
            if sound is not None:  # interleaved, as players want it
                until = min(audio.shape[1], (i + 1) * rate // fps)
                _send(container, sound, audio, sent, until, rate)
                sent = until
        if video is not None:
            container.mux(video.encode())
        if sound is not None:
            _send(container, sound, audio, sent, audio.shape[1], rate)
            container.mux(sound.encode())
    return path


def _send(
    container, stream, audio: np.ndarray, begin: int, end: int, rate: int
) -> None:
    if end <= begin:
        return
    kind = "s16" if stream.codec_context.name.startswith("pcm_s16") else "fltp"
    layout = stream.layout.name
    part = np.ascontiguousarray(audio[:, begin:end])
    if kind == "s16":
        part = (part.T.reshape(1, -1) * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(part, format=kind, layout=layout)
    frame.sample_rate, frame.pts = rate, begin
    frame.time_base = Fraction(1, rate)
    container.mux(stream.encode(frame))


def write_clip(
    path: Path, seconds: float = 2.0, hertz: float = 440.0, **options
) -> Path:
    """Write a video with sound, both of a given duration."""
    options.setdefault("frames", round(seconds * options.get("fps", 25)))
    rate = options.setdefault("rate", 22050)
    return write_video(path, audio=tone(seconds, rate, hertz), **options)


def write_wav(path: Path, audio: np.ndarray, rate: int, subtype: str = "FLOAT") -> Path:
    """Write a wav file; NaN may be among the samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(audio).T, rate, subtype=subtype)
    return path


def truncate(path: Path, share: float, to: Optional[Path] = None) -> Path:
    """Cut a file to a share of its bytes."""
    content = path.read_bytes()
    to = to or path
    to.write_bytes(content[: int(len(content) * share)])
    return to


def blank_out(path: Path, begin: float, end: float) -> Path:
    """Overwrite the middle of a file, from one share of its bytes to another."""
    content = bytearray(path.read_bytes())
    first, last = int(begin * len(content)), int(end * len(content))
    content[first:last] = b"\xff" * (last - first)
    path.write_bytes(content)
    return path


def rotate(path: Path, quarter_turns: int) -> Path:
    """Tell players, in an mp4's header, to turn the picture clockwise."""
    matrix = {
        0: (1, 0, 0, 1),
        1: (0, 1, -1, 0),
        2: (-1, 0, 0, -1),
        3: (0, -1, 1, 0),
    }[quarter_turns % 4]
    return set_matrix(path, matrix)


def set_matrix(path: Path, matrix: Sequence[int]) -> Path:
    """Write (a, b, c, d) of x' = a x + c y, y' = b x + d y into an mp4's header."""
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    at = content.index(b"tkhd") + 44  # the first track's
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
