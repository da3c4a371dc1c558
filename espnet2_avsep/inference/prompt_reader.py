"""Turns prompts into what a model takes, for any stretch of a recording."""

import collections
import itertools
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts import During, Mean, Region, Span, Text
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.file_name import is_image_name
from espnet2_avsep.media.picture import read_image
from espnet2_avsep.media.stream import MediaInfo, measure, probe
from espnet2_avsep.visual.frames import sample_times, video_frames

# Pictures (H, W, 3) uint8 -> (n, D), or (n, 3, H, W); texts -> (n, D).
EncodePictures = Callable[[List[np.ndarray]], np.ndarray]
EncodeTexts = Callable[[List[str]], np.ndarray]
# More come of a wrong duration in a header.
_MAX_LOOKS = 1_000_000
# Looks at a video that are encoded together.
_LOOKS_AT_ONCE = 8


class PromptReader:
    """The visual input of each source as a function of time.

    Prompts that do not change are encoded once. Regions of a video are read along with
    it, in one pass, and may only be asked for later and later times; so may functions
    of time, which are called with the begin and end of each stretch in s and return a
    prompt.

    Args:
        prompts: One per source, see SeparateAV.__call__.
        dim: Size D of an embedding; None where the model takes pictures themselves.
        encode_pictures: Encodes pictures.
        encode_texts: Encodes texts.

    Raises:
        InputError: no prompt, or one that cannot be used.
    """

    def __init__(
        self,
        prompts: Sequence[Any],
        dim: Optional[int],
        encode_pictures: EncodePictures,
        encode_texts: EncodeTexts,
    ):
        if isinstance(prompts, (str, bytes, os.PathLike, Text, Region, Mean, During)):
            raise InputError(
                f"prompts={prompts!r}: expected a list, one prompt per source."
            )
        try:
            prompts = list(prompts)
        except TypeError:
            raise InputError(
                f"prompts is a {type(prompts).__name__}; expected a list, one prompt "
                "per source."
            ) from None
        if not prompts:
            raise InputError("no prompt was given: one picture or embedding a source.")
        self.dim = dim
        self._encode_pictures = encode_pictures
        self._encode_texts = encode_texts
        # Of each source, when it sounds; None: always.
        self.spans: List[Optional[Sequence[Span]]] = [
            prompt.spans if isinstance(prompt, During) else None for prompt in prompts
        ]
        prompts = [
            prompt.prompt if isinstance(prompt, During) else prompt
            for prompt in prompts
        ]
        self._videos: Dict[Tuple, _VideoReader] = {}
        self._readers = [
            self._reader(prompt, index) for index, prompt in enumerate(prompts)
        ]

    def __call__(self, begin: float, end: float) -> np.ndarray:
        """Return (N, D) float32, or (N, 3, H, W), for a stretch of time in s."""
        return np.stack([read(begin, end) for read in self._readers])

    @property
    def number(self) -> int:
        """N, the number of sources."""
        return len(self._readers)

    def _reader(self, prompt: Any, index: int) -> Callable[[float, float], np.ndarray]:
        if isinstance(prompt, Region):
            return self._region_reader(prompt, index)
        if isinstance(prompt, Mean) and self.dim is not None:
            parts = [self._reader(part, index) for part in prompt.prompts]
            return lambda begin, end: np.mean([read(begin, end) for read in parts], 0)
        if callable(prompt):
            return lambda begin, end: self._row(prompt(begin, end), index)
        row = self._row(prompt, index)
        return lambda begin, end: row

    def _row(self, prompt: Any, index: int) -> np.ndarray:
        """What a prompt that does not change is to the model: (D,), or (3, H, W)."""
        if isinstance(prompt, Mean):
            if self.dim is None:
                raise InputError(
                    f"prompt {index + 1}: this model takes pictures themselves, and "
                    "several cannot be averaged; give one."
                )
            return np.mean([self._row(part, index) for part in prompt.prompts], 0)
        if isinstance(prompt, Text):
            return self._checked(self._text(prompt, index), index)
        embedding = _as_embedding(prompt, index)
        if embedding is not None:
            if self.dim is None:
                raise self._no_picture(index)
            return self._checked(embedding, index)
        return self._pictures([_as_picture(prompt, index)], index)

    def _pictures(self, images: List[np.ndarray], index: int) -> np.ndarray:
        """Encode pictures; of several, the mean of the rows, or the middle picture."""
        if self.dim is None:
            return self._encode_pictures(images[len(images) // 2 :][:1])[0]
        return self._checked(self._encode_pictures(images), index)

    def _text(self, prompt: Text, index: int) -> np.ndarray:
        if self.dim is None:
            raise self._no_picture(index)
        if not isinstance(prompt.text, str) or not prompt.text.strip():
            raise InputError(f"prompt {index + 1} is an empty text.")
        return self._encode_texts([str(prompt)])

    def _checked(self, rows: np.ndarray, index: int) -> np.ndarray:
        """Return the mean of (V, D) or (D,), checked; prompts may differ in V."""
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or len(rows) == 0 or rows.shape[-1] != self.dim:
            raise InputError(
                f"prompt {index + 1} has the shape {rows.shape}; expected (D,) or "
                f"(frames, D) with D = {self.dim}."
            )
        if not np.isfinite(rows).all():
            raise InputError(f"prompt {index + 1} holds NaN or infinite values.")
        return rows.astype(np.float32).mean(axis=0)

    @staticmethod
    def _no_picture(index: int) -> InputError:
        return InputError(
            f"prompt {index + 1} is no picture; this model was trained on pictures "
            "themselves, and takes nothing else."
        )

    def _region_reader(
        self, region: Region, index: int
    ) -> Callable[[float, float], np.ndarray]:
        path = Path(region.source)
        if is_image_name(path.name):
            image = _open_picture(path, index)
            row = self._pictures([_cut(image, region, region.at)], index)
            return lambda begin, end: row
        if region.every is None or region.seen is not None:
            row = self._held(region, index)
            return lambda begin, end: row
        key = (str(region.source), region.every, region.audio_stream)
        if key not in self._videos:
            self._videos[key] = _VideoReader(_pictures_of(region), self._rows)
        return self._videos[key].add(region, index)

    def _rows(self, images: List[np.ndarray], indices: List[int]) -> List[np.ndarray]:
        """Encode pictures, each of the prompt of that index."""
        rows = self._encode_pictures(images)
        if self.dim is None:
            return list(rows)
        return [
            self._checked(row, index) for row, index in zip(rows, indices, strict=True)
        ]

    def _held(self, region: Region, index: int) -> np.ndarray:
        """Return the mean of a region's looks, or the middle one of pictures."""
        times = [Fraction(region.at)]
        if region.every is not None:
            begin, end = map(Fraction, region.seen)
            _check_number(region, float(end - begin))
            rate = 1 / Fraction(region.every)
            times = [begin + time for time in sample_times(end - begin, rate)]
        if self.dim is None:
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
            rows.extend(self._encode_pictures(images))
        return rows[0] if self.dim is None else self._checked(np.stack(rows), index)


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
                self._look(end)
            # The last look before is kept: it holds until the next.
            while len(seen) > 1 and seen[1][0] <= begin:
                seen.popleft()
            rows = [row for time, row in seen if begin <= time < end]
            rows = rows or [seen[0][1]]
            if rows[0].ndim > 1:
                return rows[len(rows) // 2]
            return np.mean(rows, axis=0)

        return read

    def _look(self, end: float) -> None:
        """Encode the next looks, at most up to the first one at or after ``end``."""
        times: List[float] = []
        images: List[np.ndarray] = []
        while len(times) < _LOOKS_AT_ONCE and self._last < end:
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


def _pictures_of(region: Region) -> Iterator[Tuple[float, np.ndarray]]:
    """Return time in s and whole picture of each look of a region along its video."""
    info = measure(region.source, region.audio_stream)
    duration = _duration(info)
    _check_number(region, duration)
    times = sample_times(duration, 1 / Fraction(region.every))
    return video_frames(region.source, times, start=info.zero)


def _duration(info: MediaInfo) -> float:
    """Return the time in s from the zero of the clock to the end of a file."""
    ends = [info.audio_end, info.video_end]
    return max([end - info.zero for end in ends if end is not None], default=0.0)


def _check_number(region: Region, seconds: float) -> None:
    if seconds / region.every > _MAX_LOOKS:
        raise InputError(
            f"{region.source}: {seconds:.0f} s of video, a look every {region.every} "
            f"s; more than {_MAX_LOOKS} looks."
        )


def _cut(image: np.ndarray, region: Region, time: float) -> np.ndarray:
    rows, columns = region.pixels(time, *image.shape[:2])
    return np.ascontiguousarray(image[rows, columns])


def _as_embedding(prompt: Any, index: int) -> Optional[np.ndarray]:
    """Return floats of an array, a tensor or a list; None of what is something else."""
    if isinstance(prompt, (list, tuple)):
        try:
            return np.asarray(prompt, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"prompt {index + 1} is a list that is no array of numbers ({error}); "
                "expected an embedding as (D,) or (frames, D) numbers."
            ) from None
    if hasattr(prompt, "detach"):  # a tensor
        prompt = prompt.detach().cpu()
        prompt = (prompt.float() if prompt.is_floating_point() else prompt).numpy()
    if isinstance(prompt, np.ndarray) and prompt.dtype.kind == "f":
        return prompt.astype(np.float32)
    return None


def _as_picture(prompt: Any, index: int) -> np.ndarray:
    """Return (H, W, 3) uint8 of a path, a PIL image or an array."""
    if isinstance(prompt, (str, os.PathLike)):
        return _open_picture(prompt, index)
    if hasattr(prompt, "detach"):
        prompt = prompt.detach().cpu().numpy()
    try:
        return read_image(prompt, name=f"prompt {index + 1}")
    except ClipError as error:
        raise InputError(
            f"{error} A picture was expected, or an embedding as floats."
        ) from error


def _open_picture(path: Any, index: int) -> np.ndarray:
    try:
        return read_image(path)
    except ClipError as error:
        raise InputError(
            f"prompt {index + 1}, {path}: cannot be read as a picture: {error.reason}. "
            f"(Words are given as Text({str(path)!r}).)"
        ) from error
