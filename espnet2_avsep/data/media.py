"""What a media file holds."""

import contextlib
import logging
from dataclasses import dataclass
from fractions import Fraction
from typing import Optional

from espnet2_avsep.media.container import ClipError, PathLike, first_line, open_media

# Containers that state a duration when they are written. The duration of the others
# (mp3, ADTS, MPEG streams, ...) is a guess from the bit rate: a file that decodes to
# less than the guess is no sign of a file that was cut.
_STATES_DURATION = {"mov", "matroska", "webm", "avi", "asf", "flv", "nut"}
_STATES_DURATION |= {"wav", "w64", "flac", "aiff", "caf", "au"}
# A file that decodes to less than this share of what it states counts as truncated.
COMPLETE_SHARE = 0.9


@dataclass(frozen=True)
class MediaInfo:
    """What the header of a media file says.

    Attributes:
        audio_duration: Seconds of sound; None where there is none or it is not stated.
        video_duration: Seconds of picture; None as above.
        fps: Mean frame rate of the picture in 1/s, or None.
        sample_rate: Of the sound in Hz, or None.
        channels: Of the sound, or None.
        has_audio: Whether there is an audio stream.
        has_video: Whether there is a video stream (a cover picture is none).
        start: Time at which the file begins on its own clock in s.
        audio_start: Time of the first sound sample on that clock in s.
        stated: Whether the durations are stated rather than guessed (see mp3).
    """

    audio_duration: Optional[float]
    video_duration: Optional[float]
    fps: Optional[float]
    sample_rate: Optional[int]
    channels: Optional[int]
    has_audio: bool
    has_video: bool
    start: float = 0.0
    audio_start: float = 0.0
    stated: bool = True


def audio_stream(container) -> Optional["av.audio.stream.AudioStream"]:  # noqa: F821
    """Return the first audio stream of an open file, or None."""
    return container.streams.audio[0] if container.streams.audio else None


def video_stream(container) -> Optional["av.video.stream.VideoStream"]:  # noqa: F821
    """Return the first video stream that is no cover picture, or None."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def stream_duration(container, stream) -> Optional[float]:
    """Return the seconds that a stream lasts by the file's header, or None.

    The duration of the whole file stands in where the stream is alone in it.
    """
    if container.format.name == "avi" and stream.type == "video" and stream.frames:
        return float(stream.frames / stream.average_rate)  # the other is re-estimated
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # Matroska: "00:00:05.023000000"
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def frame_seconds(stream) -> Fraction:
    """Return how long a picture of a video stream is shown on average, in s."""
    rate = getattr(stream, "average_rate", None)
    return 1 / Fraction(rate) if rate else Fraction(0)


def packet_end(packet) -> float:
    """Return the time in s at which a packet's content ends, on the file's clock."""
    if packet.pts is None:
        return 0.0
    if packet.duration:
        return float((packet.pts + packet.duration) * packet.time_base)
    shown = frame_seconds(packet.stream) if packet.stream.type == "video" else 0
    return float(packet.pts * packet.time_base + shown)


def states_duration(container) -> bool:
    """Return whether the container's kind states durations rather than guessing."""
    return bool(_STATES_DURATION.intersection(container.format.name.split(",")))


def probe(path: PathLike) -> MediaInfo:
    """Read a media file's header; nothing is decoded.

    Raises:
        ClipError: as for :func:`open_media`.
    """
    with open_media(path) as container:
        audio, video = audio_stream(container), video_stream(container)
        rate = video.average_rate or video.guessed_rate if video else None
        start = audio.start_time if audio else None
        codec = audio.codec_context if audio else None  # None: of no known kind
        return MediaInfo(
            audio_duration=stream_duration(container, audio) if audio else None,
            video_duration=stream_duration(container, video) if video else None,
            fps=float(rate) if rate else None,
            sample_rate=codec.sample_rate if codec else None,
            channels=codec.channels if codec else None,
            has_audio=audio is not None,
            has_video=video is not None,
            start=(container.start_time or 0) / 1e6,
            audio_start=float(start * audio.time_base) if start is not None else 0.0,
            stated=states_duration(container),
        )


def check_complete(
    path: PathLike, kind: str, found: float, stated: Optional[float]
) -> None:
    """Raise where a file holds less than 90 % of what its header states.

    Args:
        path: The file.
        kind: "audio", "video" or "media", for the message.
        found: Seconds that could be read.
        stated: Seconds that the header states; None where it states none.

    Raises:
        ClipError: "truncated".
    """
    if stated is not None and found < COMPLETE_SHARE * stated:
        raise ClipError(
            path,
            f"truncated ({found:.2f} s of {stated:.2f} s of {kind} can be read)",
            "The file was probably cut while it was copied; fetch it again.",
        )


def check_container_complete(path: PathLike, container, end: float) -> None:
    """Raise "truncated" where the packets of all streams end long before the file.

    Args:
        path: The file.
        container: The open file.
        end: Largest :func:`packet_end` of all its packets.
    """
    if container.duration and states_duration(container):
        start = (container.start_time or 0) / 1e6
        check_complete(path, "media", end - start, container.duration / 1e6)


def tolerate_decode_error(
    path: PathLike, kind: str, time: float, stated: Optional[float], error: Exception
) -> None:
    """Let a decoding error pass in the last tenth of a file, else raise.

    A file that was cut near its end is used as far as it goes; a fault before that
    leaves a hole, and the file counts as truncated.

    Raises:
        ClipError: "truncated".
    """
    if stated is None or time < COMPLETE_SHARE * stated:
        of = f" of {stated:.2f} s" if stated is not None else ""
        raise ClipError(
            path,
            f"truncated (decode error at {time:.2f} s{of} of {kind}: "
            f"{first_line(error)})",
            "Fetch the file again.",
        ) from error
    logging.warning(
        "%s: decode error at %.2f s of %.2f s of %s; used up to there",
        path,
        time,
        stated,
        kind,
    )
