"""Sampled pictures of a clip, straight from a video file or a folder of images.

Nothing is written to disk. Of a video only what the wanted pictures need is decoded:
stretches without a wanted picture are jumped over from key frame to key frame, pictures
that no other picture refers to are dropped inside the decoder, and only the wanted ones
are scaled and converted to RGB, in one pass, by FFmpeg's scaler.
"""

import bisect
import math
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from espnet2_avsep.media.clock import frame_seconds, packet_end, packets
from espnet2_avsep.media.complete import (
    check_complete,
    check_container_complete,
    tolerate_decode_error,
)
from espnet2_avsep.media.container import ClipError, PathLike, open_media
from espnet2_avsep.media.file_name import is_image_name
from espnet2_avsep.media.picture import Resize, check_pixels, read_image
from espnet2_avsep.media.stream import stated_end, video_stream
from espnet2_avsep.media.timed_frames import timed_frames
from espnet2_avsep.media.to_rgb import ToRGB as _ToRGB
from espnet2_avsep.media.to_rgb import pixel_aspect

# Decoders that, told to, leave out exactly the pictures that no other one refers to.
_CAN_SKIP = frozenset(("h264", "mpeg2video", "mpeg4"))
# Time stamps in coarse units (1 ms in Matroska) are rounded; this much is let pass.
_MAX_ROUNDING = Fraction(1, 2000)
# Largest denominator of the durations and rates that are given as floats.
_MOST_PARTS = 10**6
# Takes an open container and yields all of its packets.
Demux = Callable[["av.container.InputContainer"], Iterator["av.Packet"]]  # noqa: F821


def exact(number: Union[float, Fraction]) -> Fraction:
    """Return the fraction that was rounded to a float: samples over a rate, or 1.1.

    The float 1.1 is a little more than 11/10: at 10 pictures a second it would need 12.

    Args:
        number: Seconds, or a rate in 1/s. A Fraction is returned as it is.
    """
    found = Fraction(number)
    if isinstance(number, Fraction):
        return found
    return found.limit_denominator(_MOST_PARTS) or found


def sample_times(
    duration: Union[float, Fraction], rate: Union[float, Fraction]
) -> List[Fraction]:
    """Return the times in s of a clip's n = ceil(duration * rate) rows, at least one.

    Row i is at the middle of its part of the clip, (i + 1/2) / n of the duration:
    the readers of rows (data/segment_reader.py) and motion features have the same
    convention.

    Args:
        duration: Seconds of sound of the clip.
        rate: Pictures per second.
    """
    length = exact(duration)
    count = max(1, math.ceil(length * exact(rate)))
    return [length * (2 * i + 1) / (2 * count) for i in range(count)]


def video_frames(
    path: PathLike,
    times: List[Fraction],
    resize: Optional[Resize] = None,
    start: Union[float, Fraction] = 0,
    demux: Optional[Demux] = None,
) -> Iterator[Tuple[float, np.ndarray]]:
    """Yield the picture that a video shows at each of some times.

    That is the last picture that is not later than the time; the first one where the
    picture begins later, the last one where it ends earlier.

    Args:
        path: Any video file that FFmpeg reads.
        times: Ascending times in s.
        resize: Size to scale to while converting; None keeps the video's size.
        start: Time on the file's clock of ``times`` = 0 in s.
        demux: Reads the packets in the one pass over the whole file, which comes before
            the first picture; may make use of those of other streams.

    Yields:
        The time as it was asked for in s, and the picture (H, W, 3), uint8, RGB.

    Raises:
        ClipError: missing, unreadable, no video stream, truncated.
    """
    wanted = [Fraction(start) + time for time in times]
    index = _read_index(path, demux)
    done = 0
    if index is not None:
        for image in _indexed_frames(path, index, wanted, resize):
            yield float(times[done]), image
            done += 1
    if done < len(times):
        # No usable time stamps, or the decoder left out a picture: decode all.
        frames = _all_frames(path, wanted[done:], resize)
        for time, image in zip(times[done:], frames, strict=True):
            yield float(time), image


def folder_frames(
    folder: PathLike, every: int = 1, resize: Optional[Resize] = None
) -> Iterator[Tuple[int, np.ndarray]]:
    """Yield one in k images of a folder, in the order of their numbers.

    The images are taken as spread evenly over the clip; of n = ceil(count / k) equal
    parts, the image in the middle is taken, as :func:`sample_times` does.

    Args:
        folder: Holds 000001.jpg, 000002.jpg, ... (or another of IMAGE_SUFFIXES).
        every: Take every n-th image.
        resize: Size to scale to; None keeps the images' size.

    Yields:
        Number of the image, from 0, and the picture (H, W, 3), uint8, RGB.

    Raises:
        ClipError: the folder is missing or without images, an image is unreadable.
    """
    paths = list_images(folder)
    count = -(-len(paths) // every)
    for row in range(count):
        number = (2 * row + 1) * len(paths) // (2 * count)
        yield number, read_image(paths[number], resize)


def list_images(folder: PathLike) -> List[Path]:
    """Return the images of a folder, ordered by the numbers in their names.

    Raises:
        ClipError: the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ClipError(folder, "folder of frames not found", "Correct the path.")
    with os.scandir(folder) as entries:
        paths = [
            folder / entry.name
            for entry in entries
            if is_image_name(entry.name) and not entry.is_dir()
        ]
    if not paths:
        raise ClipError(
            folder,
            "no images in the folder of frames",
            "Files such as 000001.jpg were expected; extract the frames again.",
        )
    return sorted(paths, key=_natural_key)


def _natural_key(path: Path) -> Tuple:
    parts = re.split(r"(\d+)", path.name)
    return tuple(int(part) if part.isdecimal() else part for part in parts)


class _Index(NamedTuple):
    """The packets of a video stream in the order of decoding.

    Attributes:
        pts: Time stamps of the packets in units of ``time_base``.
        keys: Positions in ``pts`` of the key frames.
        shown: Ascending time stamps of the pictures that are shown (an edit list may
            hide some).
        time_base: Unit of the time stamps in s.
        duration: Seconds that the stream lasts.
        aspect: Width of a pixel by its height.
    """

    pts: List[int]
    keys: List[int]
    shown: List[int]
    time_base: Fraction
    duration: float
    aspect: Fraction


def _read_index(path: PathLike, demux: Optional[Demux]) -> Optional[_Index]:
    """Read the time stamps of a video without decoding; None where they are no use.

    Args:
        path: The video.
        demux: As for :func:`video_frames`.

    Raises:
        ClipError: no video stream, no pictures in it, truncated.
    """
    pts: List[Optional[int]] = []
    keys: List[int] = []
    shown: List[int] = []
    end = video_end = 0.0
    with open_media(path) as container:
        stream = _video(path, container)
        aspect = pixel_aspect(stream)
        time_base = stream.time_base  # not to be asked for once the file is closed
        for packet in _packets(path, container, stream, demux):
            end = max(end, packet_end(packet))
            if packet.stream_index != stream.index or packet.size == 0:
                continue
            video_end = max(video_end, packet_end(packet))
            if packet.is_keyframe:
                keys.append(len(pts))
            if not packet.is_discard and packet.pts is not None:
                shown.append(packet.pts)
            pts.append(packet.pts)
        if not pts:
            raise ClipError(path, "no pictures in the video stream")
        start = _start(stream)
        stated = _stated(container, stream)
        check_container_complete(path, container, end)
        check_complete(path, "video", video_end - start, stated)
        duration = video_end - start if stated is None else stated
        ordered = "avi" not in container.format.name  # see _all_frames
    if not ordered or None in pts or len(set(pts)) < len(pts) or not (keys and shown):
        return None
    return _Index(pts, keys, sorted(shown), time_base, duration, aspect)


def _indexed_frames(
    path: PathLike,
    index: _Index,
    wanted: List[Fraction],
    resize: Optional[Resize],
) -> Iterator[np.ndarray]:
    """Decode only what the wanted pictures need; stop early where one is not found.

    Args:
        path: The video.
        index: Its time stamps.
        wanted: Ascending times on the file's clock in s.
        resize: As for :func:`video_frames`.

    Yields:
        One picture per wanted time, in order.
    """
    chosen = [_shown_at(time, index) for time in wanted]
    position = {pts: i for i, pts in enumerate(index.pts)}
    to_send = sorted(position[pts] for pts in set(chosen))
    keep = {index.pts[i] for i in to_send}
    images: Dict[int, np.ndarray] = {}
    to_rgb = _ToRGB(resize, index.aspect)
    done = 0
    for frame in _decode_packets(path, index, to_send):
        if frame.pts in keep:
            images[frame.pts] = to_rgb(frame)
        while done < len(chosen) and chosen[done] in images:
            yield images[chosen[done]]
            done += 1
            if done < len(chosen) and chosen[done] != chosen[done - 1]:
                del images[chosen[done - 1]]


def _shown_at(time: Fraction, index: _Index) -> int:
    """Return the time stamp of the picture on show at a time on the file's clock."""
    limit = math.floor((time + _rounding(index.time_base)) / index.time_base)
    return index.shown[max(0, bisect.bisect_right(index.shown, limit) - 1)]


def _rounding(time_base: Optional[Fraction]) -> Fraction:
    """Return by how much a time stamp may be too late for being rounded, in s."""
    return min(time_base / 2, _MAX_ROUNDING) if time_base else Fraction(0)


def _decode_packets(
    path: PathLike, index: _Index, to_send: List[int]
) -> Iterator["av.VideoFrame"]:  # noqa: F821
    """Decode a video as far as some of its pictures need it.

    Args:
        path: The video.
        index: Its time stamps.
        to_send: Ascending positions of the wanted pictures in ``index.pts``.

    Yields:
        The wanted pictures and some others, in the order of their time stamps; ends
        early where decoding has begun at a picture that is no intra picture.
    """
    import av

    with open_media(path) as container:
        stream = _video(path, container)
        decoder = stream.codec_context
        decoder.thread_count = 1
        can_skip = decoder.name in _CAN_SKIP
        wanted = set(to_send)
        # Where decoding may begin for each wanted picture and all that follow it.
        begin = [_key_before(index, number) for number in to_send]
        for i in reversed(range(len(begin) - 1)):
            begin[i] = min(begin[i], begin[i + 1])
        following = 0  # the first of to_send that is not sent yet
        resume = begin[0]
        sent_any = False
        number = -1
        time = 0.0
        check = _BeginsIntra(index, decoder.name)
        try:
            for packet in _packets(path, container, stream):
                if packet.stream_index != stream.index or packet.size == 0:
                    continue
                number += 1
                if number < resume:
                    continue
                if number == resume:
                    if sent_any:
                        yield from check(decoder.decode(None))
                        decoder.flush_buffers()
                    check.begin(number)
                time = float(packet.pts * stream.time_base)
                if can_skip:
                    decoder.skip_frame = "DEFAULT" if number in wanted else "NONREF"
                yield from check(decoder.decode(packet))
                if check.failed:
                    return
                sent_any = True
                if number in wanted:
                    following += 1
                    if following == len(to_send):
                        break
                    resume = max(resume, begin[following])
            yield from check(decoder.decode(None))
        except av.error.FFmpegError as error:
            time -= _start(stream)
            tolerate_decode_error(path, "video", time, index.duration, error)


class _BeginsIntra:
    """Passes pictures on until decoding has begun at one that needs others.

    With "periodic intra refresh", H.264 marks predicted pictures as key frames, from
    which on the picture is repaired part by part; FFmpeg may give what is not yet.

    Args:
        index: The video's time stamps.
        codec: Name of the decoder.

    Attributes:
        failed: Whether there was such a picture.
    """

    def __init__(self, index: _Index, codec: str):
        self.index, self.codec = index, codec
        self.failed = False
        self._first: Optional[int] = None

    def begin(self, number: int) -> None:
        """Take note that decoding begins at a key frame, by its position."""
        pts = self.index.pts[number]
        place = bisect.bisect_left(self.index.shown, pts)
        if self.codec == "h264" and self.index.shown[place : place + 1] == [pts]:
            self._first = pts

    def __call__(
        self,
        frames: List["av.VideoFrame"],  # noqa: F821
    ) -> Iterator["av.VideoFrame"]:  # noqa: F821
        """Yield decoded pictures."""
        from av.video.frame import PictureType

        for frame in frames:
            if None not in (self._first, frame.pts) and frame.pts >= self._first:
                is_intra = frame.pict_type == PictureType.I
                self.failed |= not is_intra or frame.pts != self._first
                self._first = None
            if self.failed:
                return
            yield frame


def _key_before(index: _Index, number: int) -> int:
    """Return the position to start decoding from for the picture at ``number``."""
    at = bisect.bisect_right(index.keys, number) - 1
    while at >= 0 and index.pts[index.keys[at]] > index.pts[number]:
        at -= 1  # shown before the key frame, so it may refer to what is before that
    return index.keys[at] if at >= 0 else 0


def _all_frames(
    path: PathLike, wanted: List[Fraction], resize: Optional[Resize]
) -> Iterator[np.ndarray]:
    """Decode a whole video and pick the wanted pictures by their own time stamps."""
    import av

    shown = None
    done = 0
    with open_media(path) as container:
        stream = _video(path, container)
        to_rgb = _ToRGB(resize, pixel_aspect(stream))
        stream.codec_context.thread_count = 1
        stated = _stated(container, stream)
        time = start = Fraction(0)
        try:
            for time, frame in timed_frames(packets(container), stream):
                if shown is None:
                    start = time
                while (
                    shown is not None
                    and done < len(wanted)
                    and wanted[done] + _rounding(frame.time_base) < time
                ):
                    yield to_rgb(shown)
                    done += 1
                shown = frame
                if done == len(wanted):
                    return
        except av.error.FFmpegError as error:
            tolerate_decode_error(path, "video", float(time - start), stated, error)
        if shown is None:
            raise ClipError(path, "no picture could be decoded")
        shown_for = time - start + frame_seconds(stream)
        check_complete(path, "video", float(shown_for), stated)
    image = to_rgb(shown)
    for _ in range(done, len(wanted)):
        yield image


def _video(path: PathLike, container) -> "av.video.stream.VideoStream":  # noqa: F821
    stream = video_stream(container)
    if stream is None:
        raise ClipError(path, "no video stream", "A file with a picture is needed.")
    decoder = stream.codec_context
    if decoder is None:
        raise ClipError(
            path,
            "its picture is of no known kind",
            "Convert it to H.264 where it can be read.",
        )
    check_pixels(decoder.width, decoder.height, path)
    return stream


def _start(stream) -> float:
    """Return when a stream begins on the file's clock in s."""
    return float((stream.start_time or 0) * stream.time_base)


def _stated(container, stream) -> Optional[float]:
    """Return the seconds that a stream lasts by the header, or None."""
    end = stated_end(container, stream)
    return None if end is None else end - _start(stream)


def _packets(
    path: PathLike, container, stream, demux: Optional[Demux] = None
) -> Iterator["av.Packet"]:  # noqa: F821
    """Read all packets of a file; a fault of the file ends them or raises.

    Raises:
        ClipError: "truncated".
    """
    import av

    time = 0.0
    source = packets(container) if demux is None else demux(container)
    while True:
        try:
            packet = next(source)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            stated = _stated(container, stream)
            tolerate_decode_error(path, "video", time, stated, error)
            return
        if packet.stream_index == stream.index:
            time = max(time, packet_end(packet))
        yield packet
