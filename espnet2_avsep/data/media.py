"""What a media file holds, and plain words for why it cannot be used."""

import contextlib
import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Iterator, Optional, Union

from espnet2_avsep.errors import InputError

PathLike = Union[str, Path]

# Containers that state a duration when they are written. The duration of the others
# (mp3, ADTS, MPEG streams, ...) is a guess from the bit rate: a file that decodes to
# less than the guess is no sign of a file that was cut.
_STATES_DURATION = {"mov", "matroska", "webm", "avi", "asf", "flv", "nut"}
_STATES_DURATION |= {"wav", "w64", "flac", "aiff", "caf", "au"}
# What may be opened: files that hold their own content. Lists of other files (concat,
# HLS, DASH, SDP, ...), scripts, devices and network streams are not among them.
_FORMATS = (
    "3gp,aa,aac,aax,ac3,ac4,adx,aiff,amr,amrnb,amrwb,ape,apng,aptx,asf,asf_o,au,av1,"
    "avi,caf,cavsvideo,dfpwm,dirac,dnxhd,dsf,dts,dtshd,dv,eac3,evc,flac,flic,flv,g722,"
    "gif,gsm,gxf,h261,h263,h264,hevc,iff,ilbc,ircam,ivf,ivr,kux,live_flv,lc3,loas,m4v,"
    "matroska,mjpeg,mjpeg_2000,mlp,mmf,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mpegvideo,mtv,"
    "mxf,nistsphere,nsv,nut,obu,ogg,oma,osq,pva,qoa,rka,rm,roq,shn,smk,sox,tak,truehd,"
    "tta,ty,vc1,vivo,voc,vqf,vvc,w64,wav,webm,wtv,wv,wve,xwma,yuv4mpegpipe"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
# A file that decodes to less than this share of what it states counts as truncated.
COMPLETE_SHARE = 0.9


class ClipError(InputError):
    """A clip that cannot be used for what is in, or not in, one of its files.

    Steps leave such a clip out, count it and write the reason down.

    Args:
        path: The file.
        reason: Why, in a few words.
        mend: What to do about it.
    """

    def __init__(self, path: PathLike, reason: str, mend: str = ""):
        super().__init__(f"{path}: {reason}." + (f" {mend}" if mend else ""))
        self.reason = reason


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


@contextlib.contextmanager
def open_media(
    path: PathLike, content: Optional[BinaryIO] = None
) -> Iterator["av.container.InputContainer"]:  # noqa: F821
    """Open a media file for reading.

    Args:
        path: The file.
        content: Its bytes, where they do not lie in a file; ``path`` names them then.

    Raises:
        ClipError: the file is missing, of zero length, not readable as media, or a
            list of other files.
    """
    import av

    if content is None:
        _check_file(Path(path))
    try:
        container = av.open(
            content or local_url(path), metadata_errors="replace", options=_OPTIONS
        )
    except av.error.ArgumentError as error:  # what format_whitelist leaves out
        raise ClipError(
            path,
            "no supported media file",
            "A file that holds sound or pictures itself was expected, not a list of "
            "other files (ffconcat, m3u8, sdp); convert it to mp4 or wav.",
        ) from error
    except (OSError, av.error.FFmpegError, ValueError) as error:
        raise ClipError(
            path,
            f"unreadable ({_first_line(error)})",
            "A media file that FFmpeg knows was expected; fetch the file again.",
        ) from error
    with container:
        yield container


def local_url(path: PathLike) -> str:
    """Return the name by which FFmpeg opens a local file, whatever its name looks like.

    Without it ``12:30.mp4`` is a URL of the protocol "12".
    """
    return f"file:{path}"


def _check_file(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # no permission, or no name of a file
        reason = getattr(error, "strerror", None) or str(error)
        raise ClipError(f"{str(path)[:80]!r}", f"unreadable ({reason})") from error
    if path.is_dir():
        raise ClipError(path, "is a folder, not a media file")
    if not path.exists():
        raise ClipError(
            path, "file not found", "Correct the path or take the clip from the list."
        )
    if not path.is_file():
        raise ClipError(path, "is a pipe or a device, not a regular file")
    if path.stat().st_size == 0:
        raise ClipError(path, "zero-length file", "Fetch the file again.")


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
            f"{_first_line(error)})",
            "Fetch the file again.",
        ) from error
    logging.warning(
        "%s: decode error at %.2f s of %.2f s of %s; used up to there",
        path,
        time,
        stated,
        kind,
    )


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
