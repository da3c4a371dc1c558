"""Prompts that are neither a picture nor an embedding: words, regions, time spans."""

import dataclasses
import math
import os
from typing import Any, Optional, Sequence, Tuple, Union

from espnet2_avsep.errors import InputError

Box = Tuple[float, float, float, float]
Track = Sequence[Tuple[float, Box]]
Span = Tuple[float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
# The two halves of a picture, for duets.
LEFT: Box = (0.0, 0.0, 0.5, 1.0)
RIGHT: Box = (0.5, 0.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Text:
    """A prompt in words, for models trained on the embeddings of an open_clip model.

    Dong et al., "CLIPSep: Learning Text-queried Sound Separation with Noisy Unlabeled
    Videos", ICLR 2023: trained on pictures, asked in words.

    Attributes:
        text: What to separate, e.g. "violin".
        template: What the text tower reads; "{}" is replaced by the text.

    Example:
        >>> str(Text("violin"))
        'a photo of violin'
    """

    text: str
    template: str = "a photo of {}"

    def __str__(self) -> str:
        return self.template.format(self.text)


@dataclasses.dataclass(frozen=True)
class Mean:
    """Several prompts for one source; their embeddings are averaged.

    Not for models that take pictures themselves.

    Attributes:
        prompts: Pictures, regions, embeddings or words, in any combination.
    """

    prompts: Sequence[Any]

    def __post_init__(self):
        """Check the values.

        Raises:
            InputError: there is no prompt, or one that has a time span.
        """
        if isinstance(self.prompts, (str, bytes)) or not list(self.prompts):
            raise InputError(f"Mean({self.prompts!r}): expected a list of prompts.")
        if any(isinstance(prompt, During) for prompt in self.prompts):
            raise InputError(
                "Mean: a prompt in it has a time span; expected "
                "During(Mean([...]), [(begin, end), ...])."
            )


@dataclasses.dataclass(frozen=True)
class During:
    """A prompt for a source that sounds in some time spans only.

    Outside them its track is silent; what sounds there is in the residual and in the
    tracks of other prompts.

    Attributes:
        prompt: Any other prompt.
        spans: (begin, end) pairs in s of the recording; the end may be infinite.

    Example:
        >>> During("violin.jpg", [(3, 5)]).spans
        ((3, 5),)
    """

    prompt: Any
    spans: Sequence[Span]

    def __post_init__(self):
        """Check the values; keep the spans as a tuple.

        Raises:
            InputError: see the messages.
        """
        try:
            spans = tuple((begin, end) for begin, end in self.spans)
        except (TypeError, ValueError):
            raise InputError(
                f"During: spans={self.spans!r}; expected (begin, end) pairs in seconds."
            ) from None
        if not spans:
            raise InputError("During: no span; expected at least one (begin, end).")
        for span in spans:
            check_span(span, "During", endless=True)
        if isinstance(self.prompt, During):
            raise InputError("During: its prompt is a During, too; give one of them.")
        object.__setattr__(self, "spans", spans)


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of a video or a picture, looked at again and again as the video goes on.

    Attributes:
        source: The video or picture file. A video's own clock is the mixture's: second
            0 is the first sample of its sound.
        box: (left, top, right, bottom) in shares of the width and the height, or such
            boxes over time as (second, box) pairs; between two of them the box moves
            evenly, before the first and after the last it rests.
        every: Seconds between looks. None looks once, at ``at``, for the whole
            recording.
        at: When the single look is taken, in s.
        audio_stream: Of a video with several audio streams, the number, from 1, of the
            one that is the mixture; None: the one that is read by default.
        seen: (begin, end) in s of the video: looks are taken within this span only, and
            their mean holds for the whole recording, e.g. where the thing is visible
            only then. None: looks are taken all along.

    Example:
        >>> Region("duet.mp4", LEFT).box_at(3.0)
        (0.0, 0.0, 0.5, 1.0)
        >>> moving = [(0.0, (0.0, 0.0, 0.5, 1.0)), (10.0, (0.5, 0.0, 1.0, 1.0))]
        >>> Region("duet.mp4", moving).box_at(5.0)
        (0.25, 0.0, 0.75, 1.0)
    """

    source: Union[str, "os.PathLike[str]"]
    box: Union[Box, Track] = WHOLE
    every: Optional[float] = 1.0
    at: float = 0.0
    audio_stream: Optional[int] = None
    seen: Optional[Span] = None

    def __post_init__(self):
        """Check the values.

        Raises:
            InputError: see the messages.
        """
        track = self._track()
        for time, box in track:
            check_box(box, f"the region of {self.source}")
            if not _is_number(time):
                raise InputError(
                    f"the region of {self.source}: {time!r} is no time in seconds."
                )
        times = [time for time, _ in track]
        if times != sorted(set(times)):
            raise InputError(
                f"the region of {self.source}: the times of its boxes must ascend."
            )
        if self.every is not None and not (
            _is_number(self.every) and 0.01 <= self.every <= 1e6
        ):
            raise InputError(
                f"the region of {self.source}: every={self.every!r}; expected seconds "
                "between looks (0.01 or more), or None."
            )
        if not _is_number(self.at) or self.at < 0:
            raise InputError(
                f"the region of {self.source}: at={self.at!r}; expected a time in "
                "seconds."
            )
        if self.seen is not None:
            check_span(self.seen, f"the region of {self.source}: seen")

    def _track(self) -> Track:
        try:
            boxes = list(self.box)
            if boxes and all(
                isinstance(entry, (tuple, list)) and len(entry) == 2 for entry in boxes
            ):
                return [(time, box) for time, box in boxes]
            return [(0.0, tuple(boxes))]
        except TypeError:
            raise InputError(
                f"the region of {self.source}: box={self.box!r}; expected (left, top, "
                "right, bottom), or (second, box) pairs."
            ) from None

    def box_at(self, time: float) -> Box:
        """Return the box at a time in s."""
        track = self._track()
        before = [entry for entry in track if entry[0] <= time] or track[:1]
        after = [entry for entry in track if entry[0] > time] or track[-1:]
        (begin, first), (end, last) = before[-1], after[0]
        share = 0.0 if end <= begin else max(0.0, (time - begin) / (end - begin))
        return tuple(
            float(a + share * (b - a)) for a, b in zip(first, last, strict=True)
        )

    def pixels(self, time: float, height: int, width: int) -> Tuple[slice, slice]:
        """Return the rows and columns of a picture that the box holds at a time."""
        left, top, right, bottom = self.box_at(time)
        return _span(top, bottom, height), _span(left, right, width)


def _span(begin: float, end: float, size: int) -> slice:
    """Pixels from one share of an axis to another; at least one."""
    first = min(round(begin * size), size - 1)
    return slice(first, max(first + 1, round(end * size)))


def _is_number(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def check_span(span: object, what: str, endless: bool = False) -> None:
    """Check a time span in seconds.

    Args:
        span: (begin, end).
        what: Whose span, for the message.
        endless: Whether the end may be infinite.

    Raises:
        InputError: it has not 0 <= begin < end.
    """
    values = tuple(span) if isinstance(span, (tuple, list)) else ()
    if len(values) == 2:
        begin, end = values
        ends = _is_number(end) or (endless and end == math.inf)
        if _is_number(begin) and ends and 0 <= begin < end:
            return
    raise InputError(f"{what}: {span!r}; expected 0 <= begin < end in seconds.")


def check_box(box: object, what: str) -> Box:
    """Return a box of four shares.

    Args:
        box: To be checked.
        what: Whose box, for the message.

    Raises:
        InputError: it has not 0 <= left < right <= 1 and 0 <= top < bottom <= 1.
    """
    values = tuple(box) if isinstance(box, (tuple, list)) else ()
    if len(values) == 4 and all(_is_number(value) for value in values):
        left, top, right, bottom = values
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    raise InputError(
        f"{what}: box {box!r}; expected left, top, right, bottom as shares of the "
        "picture's width and height, 0 <= left < right <= 1 and 0 <= top < bottom <= 1."
    )
