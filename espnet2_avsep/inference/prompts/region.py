"""A region of a video or a picture as a prompt."""

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple, Union, cast

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts.abs_prompt import (
    AbsPrompt,
    InputVideo,
    PathLike,
    PromptEncoder,
    Read,
)
from espnet2_avsep.inference.prompts.span import (
    TIME,
    Span,
    check_span,
    is_number,
    seconds,
)
from espnet2_avsep.media.box import box_pixels

if TYPE_CHECKING:
    import numpy as np

Box = Tuple[float, float, float, float]
Track = Sequence[Tuple[float, Box]]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
# The two halves of a picture, for duets.
LEFT: Box = (0.0, 0.0, 0.5, 1.0)
RIGHT: Box = (0.5, 0.0, 1.0, 1.0)
_SEEN = re.compile(rf"seen=({TIME})(?:-({TIME}))?")


@dataclasses.dataclass(frozen=True)
class Region(AbsPrompt):
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

    prefix = "box:"
    rule = """\
box:L,T,R,B   the region of the input video, as shares of its width and height
              (0 <= L < R <= 1 and 0 <= T < B <= 1), looked at along the video;
              box:L,T,R,B,seen=3-5: looked at from second 3 to 5 only, for the
              whole recording; seen=4: once, at second 4"""
    example = "box:0,0,0.5,1"
    kind = "region"
    encodes = "pictures"

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
            if not is_number(time):
                raise InputError(
                    f"the region of {self.source}: {time!r} is no time in seconds."
                )
        times = [time for time, _ in track]
        if times != sorted(set(times)):
            raise InputError(
                f"the region of {self.source}: the times of its boxes must ascend."
            )
        if self.every is not None and not (
            is_number(self.every) and 0.01 <= self.every <= 1e6
        ):
            raise InputError(
                f"the region of {self.source}: every={self.every!r}; expected seconds "
                "between looks (0.01 or more), or None."
            )
        if not is_number(self.at) or self.at < 0:
            raise InputError(
                f"the region of {self.source}: at={self.at!r}; expected a time in "
                "seconds."
            )
        if self.seen is not None:
            check_span(self.seen, f"the region of {self.source}: seen")

    def _track(self) -> Track:
        boxes: List[Any]
        try:
            boxes = list(self.box)
            if boxes and all(
                isinstance(entry, (tuple, list)) and len(entry) == 2 for entry in boxes
            ):
                return [(time, box) for time, box in boxes]
            return [(0.0, cast(Box, tuple(boxes)))]
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
        left, top, right, bottom = (
            float(a + share * (b - a)) for a, b in zip(first, last, strict=True)
        )
        return left, top, right, bottom

    def pixels(self, time: float, height: int, width: int) -> Tuple[slice, slice]:
        """Return the rows and columns of a picture that the box holds at a time."""
        return box_pixels(self.box_at(time), height, width)

    @classmethod
    def parse(cls, text: str, video: InputVideo) -> "Region":
        """Read box:L,T,R,B, and after another comma seen=FROM-TO or seen=AT.

        Raises:
            InputError: it is not of this form, or there is no video.
        """
        values = text.removeprefix(cls.prefix).split(",")
        seen = None
        if found := _SEEN.fullmatch(values[-1].strip()):
            seen = (seconds(found[1]), seconds(found[2] or found[1]))
            if seen[0] > seen[1]:
                raise InputError(
                    f"--query {text!r:.200}: the time span {values[-1]} ends before it "
                    "begins."
                )
            values.pop()
        try:
            box = tuple(float(value) for value in values)
        except ValueError:
            raise InputError(
                f"--query {text!r}: expected box:left,top,right,bottom with four "
                "numbers, e.g. box:0,0,0.5,1, or box:0,0,0.5,1,seen=3-5."
            ) from None
        return cls.of_video(text, cast(Box, box), video, seen)

    @classmethod
    def of_video(
        cls, text: str, box: Box, video: InputVideo, seen: Optional[Span] = None
    ) -> "Region":
        """Return a region of what is separated.

        Args:
            text: The query, for messages.
            box: See the class.
            video: What is separated.
            seen: See the class; of one moment: the one look.

        Raises:
            InputError: the box is invalid, or there is no video.
        """
        check_box(box, f"--query {text!r}")
        if video.path is None:
            raise InputError(
                f"--query {text!r}: a region needs a video, and the input has no "
                "picture. Give a picture file instead."
            )
        every, at = video.every, 0.0
        if seen is not None and (every is None or seen[0] == seen[1]):
            every, at, seen = None, sum(seen) / 2, None
        stream = video.audio_stream
        return cls(video.path, box, every, at, audio_stream=stream, seen=seen)

    def row(self, reader: PromptEncoder, index: int) -> "np.ndarray":
        """Raise, since it changes with time."""
        raise InputError(
            f"prompt {index + 1}: a function of time has returned a Region, which "
            "changes with time itself; give the Region, or return pictures."
        )

    def read(self, reader: PromptEncoder, index: int) -> Read:
        """See AbsPrompt.read."""
        return reader.region(self, index)

    def files(self) -> Tuple[PathLike, ...]:
        """Return the video or picture."""
        return (self.source,)


def check_box(box: object, what: str) -> Box:
    """Return a box of four shares.

    Args:
        box: To be checked.
        what: Whose box, for the message.

    Raises:
        InputError: it has not 0 <= left < right <= 1 and 0 <= top < bottom <= 1.
    """
    values = tuple(box) if isinstance(box, (tuple, list)) else ()
    if len(values) == 4 and all(is_number(value) for value in values):
        left, top, right, bottom = values
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    raise InputError(
        f"{what}: box {box!r}; expected left, top, right, bottom as shares of the "
        "picture's width and height, 0 <= left < right <= 1 and 0 <= top < bottom <= 1."
    )
