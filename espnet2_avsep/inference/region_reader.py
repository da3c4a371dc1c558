"""Reads regions of videos and pictures, along with the recording or once."""

import collections
import functools
import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, Deque, Iterator, List, Tuple, cast

import numpy as np

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts import Region
from espnet2_avsep.inference.prompts.abs_prompt import PromptEncoder, Read
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.file_name import is_image_name
from espnet2_avsep.media.picture import read_image
from espnet2_avsep.media.stream import MediaInfo, measure, probe
from espnet2_avsep.visual.frames import exact, sample_times, video_frames

# More come of a wrong duration in a header.
_MAX_LOOKS = 1_000_000
# Looks at a video that are encoded together.
_LOOKS_AT_ONCE = 8


def read_region(region: Region, reader: PromptEncoder, index: int) -> Read:
    """Return a region as a function of time.

    Args:
        region: Of a video, or of a picture.
        reader: Encodes its pictures.
        index: Of the prompt, from 0, for messages.

    Raises:
        InputError: a file that cannot be read, or a time after its end.
    """
    path = Path(region.source)
    if is_image_name(path.name):
        image = open_picture(path, index)
        row = reader.pictures([_cut(image, region, region.at)], index)
        return lambda begin, end: row
    if region.every is None or region.seen is not None:
        row = _held(region, reader, index)
        return lambda begin, end: row
    key = (str(region.source), region.every, region.audio_stream)
    if key not in reader.videos:
        reader.videos[key] = _VideoReader(
            _pictures_of(region), functools.partial(_rows, reader)
        )
    return reader.videos[key].add(region, index)


def _rows(
    reader: PromptEncoder, images: List[np.ndarray], indices: List[int]
) -> List[np.ndarray]:
    """Encode pictures, each of the prompt of that index."""
    rows = reader.encode_pictures(images)
    if reader.dim is None:
        return list(rows)
    return [
        reader.checked(row, index) for row, index in zip(rows, indices, strict=True)
    ]


def _held(region: Region, reader: PromptEncoder, index: int) -> np.ndarray:
    """Return the mean of a region's looks, or the middle one of pictures."""
    times = [Fraction(region.at)]
    if region.every is not None and region.seen is not None:
        begin, end = map(exact, region.seen)
        _check_number(region, float(end - begin))
        rate = 1 / exact(region.every)
        times = [begin + time for time in sample_times(end - begin, rate)]
    if reader.dim is None:
        times = times[len(times) // 2 :][:1]
    info = (probe if region.seen is None else measure)(
        region.source, region.audio_stream
    )
    if region.seen is not None and times[0] >= _duration(info):
        raise InputError(
            f"prompt {index + 1}: seen={region.seen!r}, but {region.source} ends "
            f"after {_duration(info):.2f} s."
        )
    looks = video_frames(region.source, times, start=info.zero)
    cut = (_cut(image, region, time) for time, image in looks)
    rows = []
    while images := list(itertools.islice(cut, _LOOKS_AT_ONCE)):
        rows.extend(reader.encode_pictures(images))
    return rows[0] if reader.dim is None else reader.checked(np.stack(rows), index)


class _VideoReader:
    """Reads regions along their video: decoded once, looks of all encoded together.

    Args:
        pictures: The (time, whole picture) of each look, in order.
        encode: Pictures and the index of the prompt of each -> a row for each.
    """

    def __init__(
        self,
        pictures: Iterator[Tuple[float, np.ndarray]],
        encode: Callable[[List[np.ndarray], List[int]], List[np.ndarray]],
    ):
        self._pictures = pictures
        self._encode = encode
        self._regions: List[Region] = []
        self._indices: List[int] = []
        # Of each region, the (time, row) of the looks that are still needed.
        self._seen: List[Deque[Tuple[float, np.ndarray]]] = []
        self._last = -math.inf  # time of the last look

    def add(self, region: Region, index: int) -> Callable[[float, float], np.ndarray]:
        """Return what gives a region's rows; all are added before the first is read.

        Args:
            region: Of the video.
            index: Of its prompt.

        Returns:
            Begin and end in s -> the mean of the rows of the looks in [begin, end), or
            the middle one of pictures.
        """
        seen: Deque[Tuple[float, np.ndarray]] = collections.deque()
        self._regions.append(region)
        self._indices.append(index)
        self._seen.append(seen)

        def read(begin: float, end: float) -> np.ndarray:
            while self._last < end:
                self._look()
            # The last look before is kept: it holds until the next.
            while len(seen) > 1 and seen[1][0] <= begin:
                seen.popleft()
            rows = [row for time, row in seen if begin <= time < end]
            rows = rows or [seen[0][1]]
            if rows[0].ndim > 1:
                return rows[len(rows) // 2]
            return np.mean(rows, axis=0)

        return read

    def _look(self) -> None:
        """Encode the next looks, also those of later stretches.

        A pass of the encoder reads all of its weights: with the two or three pictures
        of a short stretch, that takes as long as the rest.
        """
        times: List[float] = []
        images: List[np.ndarray] = []
        while len(times) < _LOOKS_AT_ONCE and self._last < math.inf:
            time, image = next(self._pictures, (math.inf, None))
            self._last = time
            if image is not None:
                times.append(time)
                images += [_cut(image, region, time) for region in self._regions]
        if not times:
            return
        rows = iter(self._encode(images, self._indices * len(times)))
        for time in times:
            for seen in self._seen:
                seen.append((time, next(rows)))


def looks(region: Region) -> Iterator[Tuple[float, np.ndarray]]:
    """Return time in s and cut picture, (h, w, 3) uint8, of each look at a video."""
    return ((time, _cut(image, region, time)) for time, image in _pictures_of(region))


def _pictures_of(region: Region) -> Iterator[Tuple[float, np.ndarray]]:
    """Return time in s and whole picture of each look of a region along its video."""
    info = measure(region.source, region.audio_stream)
    duration = _duration(info)
    _check_number(region, duration)
    every = cast(float, region.every)  # else there is one look: _held
    times = sample_times(duration, 1 / exact(every))
    return video_frames(region.source, times, start=info.zero)


def _duration(info: MediaInfo) -> float:
    """Return the time in s from the zero of the clock to the end of a file."""
    ends = [info.audio_end, info.video_end]
    return max([end - info.zero for end in ends if end is not None], default=0.0)


def _check_number(region: Region, seconds: float) -> None:
    if region.every is not None and seconds / region.every > _MAX_LOOKS:
        raise InputError(
            f"{region.source}: {seconds:.0f} s of video, a look every {region.every} "
            f"s; more than {_MAX_LOOKS} looks."
        )


def _cut(image: np.ndarray, region: Region, time: float) -> np.ndarray:
    rows, columns = region.pixels(time, *image.shape[:2])
    return np.ascontiguousarray(image[rows, columns])


def open_picture(path: Any, index: int) -> np.ndarray:
    """Read a picture file that a prompt names.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_image(path)
    except ClipError as error:
        raise InputError(
            f"prompt {index + 1}, {path}: cannot be read as a picture: {error.reason}. "
            f"(Words are given as Text({str(path)!r}).)"
        ) from error
