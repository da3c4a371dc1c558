"""Put what was fetched into one mp4 file: whole, or a section of it.

Nothing is encoded again but the pictures of a section, which would otherwise have to
begin at a key frame, seconds away from where they should. The sound of a section is
copied packet by packet: it begins at the nearest packet, half a packet (12 ms of AAC at
44.1 kHz) away at the most.
"""

import heapq
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Iterator, Optional, Sequence, Tuple

from espnet2_avsep.corpus.download.video_error import VideoError
from espnet2_avsep.media.clock import packet_end
from espnet2_avsep.media.container import ClipError, local_url, open_media
from espnet2_avsep.media.sound import find_sound
from espnet2_avsep.media.stream import video_stream
from espnet2_avsep.media.video_encoder import VideoEncoder

# Of the pictures of a section: visually lossless at the size that they are kept in.
_ENCODER_OPTIONS = {"crf": "18", "preset": "veryfast"}


def write_clip(
    parts: Sequence[Path],
    output: Path,
    start: Optional[float] = None,
    seconds: float = 10.0,
) -> None:
    """Write an mp4 file of what was fetched.

    Args:
        parts: One file with picture and sound, or one of each.
        output: The file to write, as a temporary name of the caller's.
        start: Where the section begins in s; None: the whole.
        seconds: Length of the section.

    Raises:
        VideoError: no picture, no sound, unreadable, or a section beyond the end.
    """
    import av

    try:
        picture = _part_with(parts, "video")
        sound = _part_with(parts, "audio")
        if start is None and picture == sound and picture.suffix == ".mp4":
            picture.replace(output)
            return
        with av.open(local_url(output), "w", format="mp4") as container:
            if start is None:
                _copy(container, picture, sound)
            else:
                _cut(container, picture, sound, start, seconds)
    except ClipError as error:
        raise VideoError("unreadable", error.reason) from error
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == 28:
            raise
        raise VideoError("unreadable", str(error)) from error


def _part_with(parts: Sequence[Path], kind: str) -> Path:
    for path in parts:
        with open_media(path) as container:
            found = video_stream(container) if kind == "video" else None
            if found or (kind == "audio" and container.streams.audio):
                return path
    raise VideoError(f"no {kind}")


def _copy(output, picture: Path, sound: Path) -> None:
    """Copy all packets, those of both streams in the order of their times."""
    with open_media(picture) as first, open_media(sound) as second:
        packets = [
            _packets(container, stream, _copied_stream(output, stream))
            for container, stream in (
                (first, video_stream(first)),
                (second, _sound_stream(sound, second)),
            )
        ]
        for _, packet in heapq.merge(*packets, key=lambda item: item[0]):
            output.mux(packet)


def _packets(container, stream, target) -> Iterator[Tuple]:
    """Yield time in s and packet, which goes to the stream ``target``."""
    for packet in container.demux(stream):
        if packet.dts is not None:
            time = float(packet.dts * packet.time_base)
            packet.stream = target
            yield time, packet


def _cut(output, picture: Path, sound: Path, start: float, seconds: float) -> None:
    with open_media(picture) as first, open_media(sound) as second:
        source = video_stream(first)
        zero = min((c.start_time or 0) / 1e6 for c in (first, second))
        begin = start + zero
        first.seek(int(begin / source.time_base), stream=source)
        pictures = _section(first, source, begin, seconds)
        _, picture_at_begin = head = next(pictures)
        encoder = VideoEncoder(output, source, picture_at_begin, _ENCODER_OPTIONS)
        audio = _copied_stream(output, _sound_stream(sound, second))
        _copy_sound(output, sound, second, audio, begin, seconds)
        for time, frame in itertools.chain([head], pictures):
            output.mux(encoder.encode(time, frame))
        output.mux(encoder.flush())


def _copied_stream(output, stream):
    """Add a stream for copied packets, whether FFmpeg can encode that codec or not."""
    return output.add_stream_from_template(stream, opaque=True)


def _sound_stream(path: Path, container) -> "av.audio.stream.AudioStream":  # noqa: F821
    return container.streams[find_sound(path).index]


def _copy_sound(
    output, path: Path, container, target, begin: float, seconds: float
) -> None:
    stream = _sound_stream(path, container)
    container.seek(int(max(begin - 1, 0) / stream.time_base), stream=stream)
    offset = None
    for packet in container.demux(stream):
        if packet.pts is None:
            continue
        middle = (float(packet.pts * packet.time_base) + packet_end(packet)) / 2
        if middle < begin:
            continue
        if middle >= begin + seconds:
            break
        offset = packet.pts if offset is None else offset
        packet.pts -= offset
        packet.dts = packet.pts
        packet.stream = target
        output.mux(packet)
    if offset is None:
        raise VideoError("section beyond the end", f"no sound at {begin:g} s")


def _section(
    container, stream, begin: float, seconds: float
) -> Iterator[Tuple[Fraction, "av.VideoFrame"]]:  # noqa: F821
    """Yield the pictures of a section, from its first one on, with their times in it.

    Raises:
        VideoError: there is none.
    """
    held, sent = None, False
    first = Fraction(begin).limit_denominator(10**6)  # 5.92 is not exact in binary
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        time = frame.pts * frame.time_base - first
        if time >= seconds:
            break
        if time < 0:
            held = frame  # still shown when the section begins
            continue
        if not sent and held is not None and time > 0:
            yield Fraction(0), held
        yield time, frame
        sent = True
    if not sent:
        raise VideoError("section beyond the end", f"no picture at {begin:g} s")
