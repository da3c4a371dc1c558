"""When the sound and the picture of a file begin and end, on the file's clock.

What a container says of it means something else in each (FFmpeg 8.1, as in PyAV 18.1):

=============== ======================================== ==============================
container       what its fields mean                     what is taken
=============== ======================================== ==============================
mp4, mov, m4a   stream.start_time and duration: of the   both; they are exact. Of
                track after its edit list. Of fragmented fragmented files, and of cut
                files (stream.frames = 0), of what was   ones: decoded, read
                read so far
mkv, webm       tag DURATION: the time at which the      sound decoded, packets of the
                track ends, not how long it lasts.       picture read; the tag only
                Live files (MediaRecorder) lack it. A    tells whether a file was cut
                stream without a packet in the first
                megabytes gets the file's duration
flv             none for streams; the file's is that of  decoded, read
                its last tag's beginning
avi             number of pictures, left-out ones among  decoded, read
                them; 2^30 in files that were not
                closed. Sound: from byte counts
ts, mpg         none; FFmpeg looks at the last time      decoded, read; jumps of the
                stamps (wrong by half a second) or       clock are closed (clock.py)
                takes the file's duration
ogg             granule of the last page, without the    decoded; of one stream, it
                samples to be cut off                    tells of damaged pages
wav             bytes of samples, modulo 4 GiB, 0 or     see plain_sound.py
                2^31 - 1 or 2^32 - 1 where not known
flac            number of samples; 0: not known          number, else decoded
aiff, caf, au,  number of samples; about 2 GiB of them   number, else decoded
w64             in files that were piped
mp3             a guess from the bit rate, or the        decoded; the tag only tells
                encoder's tag (Xing, Info): frames       whether a file was cut
aac, ...        none, or a guess from the bit rate       decoded
=============== ======================================== ==============================

``stream.duration`` of a stream whose start is not known is the file's (FFmpeg fills it
in): one or two still pictures seem to last as long as the sound. It is never taken.

"Not known" is None everywhere. :func:`probe` reads headers, so that some times are not
known; :func:`measure` reads or decodes the file where they are not.
"""

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from typing import Optional

from espnet2_avsep.media.clock import packet_end, packets
from espnet2_avsep.media.container import ClipError, PathLike, open_media
from espnet2_avsep.media.plain_sound import plain_sound
from espnet2_avsep.media.sound import SoundDecoder, find_sound

# Containers whose streams' start and duration are exact.
_EXACT = {"mov", "wav", "w64", "aiff", "caf", "au"}
# Sizes in bytes from here on are what programs write that do not know them.
_PIPED = 0x7FFE0000


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds; times in s on the file's own clock, None where not known.

    Attributes:
        has_audio: Whether there is an audio stream.
        has_video: Whether there is a video stream (a cover picture does not count).
        start: Time at which the file begins.
        sample_rate: Of the sound in Hz; None: no sound that can be decoded.
        channels: Of the sound, or None.
        audio_start: Time of the first sample.
        audio_end: Time after the last sample.
        fps: Mean frame rate of the picture in 1/s, or None.
        video_start: Time of the first picture.
        video_end: Time until which the last picture is shown.
        pictures: Number of pictures.
    """

    has_audio: bool
    has_video: bool
    start: float = 0.0
    sample_rate: Optional[int] = None
    channels: Optional[int] = None
    audio_start: float = 0.0
    audio_end: Optional[float] = None
    fps: Optional[float] = None
    video_start: float = 0.0
    video_end: Optional[float] = None
    pictures: Optional[int] = None

    @property
    def zero(self) -> float:
        """Time on the file's clock of second 0: of the first sample, if there is any.

        A file's tracks, pictures and prompts are counted from there.
        """
        return self.start if self.sample_rate is None else self.audio_start

    @property
    def audio_duration(self) -> Optional[float]:
        """Seconds of sound; None where there is none or it is not known."""
        return _difference(self.audio_end, self.audio_start)

    @property
    def video_duration(self) -> Optional[float]:
        """Seconds of picture; None as above."""
        return _difference(self.video_end, self.video_start)

    @property
    def samples(self) -> Optional[int]:
        """Number of samples of a channel, or None."""
        seconds = self.audio_duration
        return None if seconds is None else round(seconds * (self.sample_rate or 0))


def video_stream(container) -> Optional["av.video.stream.VideoStream"]:  # noqa: F821
    """Return the video stream of an open file, or None; a cover picture does not count.

    Of several, one of a known codec, and of these one with the default flag.
    """
    from av.stream import Disposition

    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    return min(
        streams,
        key=lambda stream: (
            stream.codec_context is None,
            not stream.disposition & Disposition.default,
        ),
        default=None,
    )


def stated_end(container, stream) -> Optional[float]:
    """Return when a stream should end by the header, on the file's clock in s.

    Exact for the containers of ``_EXACT``; of others it only tells whether a
    file was cut. None where the header does not say.
    """
    names = set(container.format.name.split(","))
    if names & _EXACT or "flac" in names:
        if not stream.duration or ("mov" in names and not stream.frames):
            return None
        seconds = float(stream.duration * stream.time_base)
        bits = getattr(stream.codec_context, "bit_rate", None) or 0
        if "mov" not in names and seconds * bits / 8 > max(_PIPED, container.size):
            return None
        return seconds + float((stream.start_time or 0) * stream.time_base)
    if "matroska" in names:
        tag = stream.metadata.get("DURATION", "")  # "00:00:05.023000000"
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    seconds = 0.0
    if "mp3" in names:
        seconds = _tagged_seconds(container, stream)
    elif "ogg" in names and len(container.streams) == 1 and stream.duration:
        seconds = float(stream.duration * stream.time_base)
    start = float((stream.start_time or 0) * stream.time_base)
    return seconds + start if seconds else None


def _tagged_seconds(container, stream) -> float:
    """Return how long an mp3 lasts by the tag of its encoder; 0 without one.

    FFmpeg takes the tag, but a guess from the bit rate where files were joined.
    """
    with open(container.name.removeprefix("file:"), "rb") as f:
        head = f.read(10)
        if head[:3] == b"ID3":  # its size in 7 bits a byte
            f.seek(10 + sum(byte << 7 * n for n, byte in enumerate(head[:5:-1])))
        else:
            f.seek(0)
        frame = f.read(64)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 12 or not frame[at + 7] & 1:
        return 0.0
    samples = 1152 if frame[1] >> 3 & 3 == 3 else 576  # of a frame; 3: MPEG-1
    rate = stream.codec_context.sample_rate
    tagged = int.from_bytes(frame[at + 8 : at + 12], "big") * samples / rate
    # Of the two, FFmpeg's leaves out what the encoder added at both ends.
    return min(tagged, float((stream.duration or 0) * stream.time_base) or tagged)


def stated_duration(container) -> Optional[float]:
    """Return how long a file should last by its header, in s, or None."""
    names = set(container.format.name.split(","))
    if not container.duration or not names & {"mov", "matroska", "flv"}:
        return None
    # Of Matroska it is the time at which the file ends.
    start = (container.start_time or 0) if "matroska" in names else 0
    return (container.duration - start) / 1e6


def probe(path: PathLike, audio_stream: Optional[int] = None) -> MediaInfo:
    """Read a media file's header; of the sound, the first samples are decoded.

    Args:
        path: The file.
        audio_stream: See sound.find_sound.

    Raises:
        ClipError: the file is missing or not readable as media, or there is no audio
            stream of that number.
    """
    plain = plain_sound(path)
    if plain is not None and audio_stream in (None, 1):
        return MediaInfo(
            has_audio=True,
            has_video=False,
            sample_rate=plain.fs,
            channels=plain.channels,
            audio_end=plain.there / plain.fs,
        )
    with open_media(path) as container:
        info = MediaInfo(
            has_audio=bool(container.streams.audio),
            has_video=False,
            start=(container.start_time or 0) / 1e6,
        )
        try:
            sound = find_sound(path, audio_stream)
        except ClipError:  # none that can be decoded
            if audio_stream is not None:
                raise
            sound = None
        if sound is not None:
            stream = container.streams[sound.index]
            info = dataclasses.replace(
                info,
                sample_rate=sound.fs,
                channels=sound.channels,
                audio_start=sound.start,
                audio_end=_exact_end(container, stream),
            )
        video = video_stream(container)
        if video is not None:
            rate = video.average_rate or video.guessed_rate
            end = _exact_end(container, video)
            info = dataclasses.replace(
                info,
                has_video=True,
                fps=float(rate) if rate else None,
                video_start=float((video.start_time or 0) * video.time_base),
                video_end=end,
                pictures=video.frames or None if end is not None else None,
            )
        return info


def measure(path: PathLike, audio_stream: Optional[int] = None) -> MediaInfo:
    """Read a media file's header, and the file itself for what that does not tell.

    Args:
        path: The file.
        audio_stream: See sound.find_sound.

    Raises:
        ClipError: as for :func:`probe`.
    """
    import av

    info = probe(path, audio_stream)
    sound = None
    if info.sample_rate is not None and info.audio_end is None:
        sound = find_sound(path, audio_stream)
    look = info.has_video and info.video_end is None
    if sound is None and not look:
        return info
    with open_media(path) as container:
        video = video_stream(container) if look else None
        streams = [video] if look else []
        decoder = None
        if sound is not None:
            streams.append(container.streams[sound.index])
            decoder = SoundDecoder(path, streams[-1])
        begin, end, pictures = math.inf, -math.inf, 0
        with contextlib.suppress(av.error.FFmpegError):  # a cut file ends there
            for packet in packets(container, *streams):
                if look and packet.stream_index == video.index and packet.size:
                    time = packet.dts if packet.pts is None else packet.pts
                    if time is not None:
                        begin = min(begin, float(time * packet.time_base))
                        end = max(end, packet_end(packet))
                        pictures += 1
                elif decoder is not None:
                    decoder.feed(packet)
    if decoder is not None:
        info = dataclasses.replace(
            info, audio_start=decoder.start, audio_end=decoder.start + decoder.seconds
        )
    if pictures:
        info = dataclasses.replace(
            info, video_start=begin, video_end=end, pictures=pictures
        )
    return info


def _exact_end(container, stream) -> Optional[float]:
    """Return the end by the header; None where that is no fact, or the file was cut."""
    exact = _EXACT.intersection(container.format.name.split(","))
    end = stated_end(container, stream) if exact else None
    if end is None or _lacks_end(container, stream):
        return None
    return end


def _lacks_end(container, stream) -> bool:
    """Tell whether a file is shorter than its header says."""
    if "mov" not in container.format.name.split(","):
        seconds = float((stream.duration or 0) * stream.time_base)
        bits = getattr(stream.codec_context, "bit_rate", None) or 0
        return seconds * bits / 8 > container.size
    at = 0
    with open(container.name.removeprefix("file:"), "rb") as f:
        while at < container.size:  # a chain of boxes: length and name
            f.seek(at)
            head = f.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: as far as the file goes
                return False
            at += length
    return at > container.size


def _difference(end: Optional[float], start: float) -> Optional[float]:
    return None if end is None else max(0.0, end - start)
