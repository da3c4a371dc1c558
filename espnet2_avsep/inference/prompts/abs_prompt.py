"""What every type of prompt offers: a value, a text form, and how it is read."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Tuple,
)

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import PathLike

if TYPE_CHECKING:
    import numpy as np

# Begin and end of a stretch in s -> the visual input of one source.
Read = Callable[[float, float], "np.ndarray"]


class InputVideo(NamedTuple):
    """What the command separates, and how its pictures are looked at.

    Attributes:
        path: The file; None where it has no picture.
        every: Seconds between looks at a region; None: one look, held.
        audio_stream: The one that is separated, from which time is counted.
    """

    path: Optional[Path]
    every: Optional[float] = 1.0
    audio_stream: Optional[int] = None


class PromptEncoder(Protocol):
    """What prompts are read with (see PromptReader); ``index`` is for messages.

    Attributes:
        dim: D, size of an embedding; None where the model takes pictures themselves.
        encode_pictures: Pictures -> a row for each, unchecked.
        videos: Readers that regions of one video share.
    """

    dim: Optional[int]
    encode_pictures: Callable
    videos: Dict

    def pictures(self, images: List["np.ndarray"], index: int) -> "np.ndarray":
        """Encode pictures (H, W, 3) uint8; of several, their mean or the middle one."""

    def text(self, words: str, index: int) -> "np.ndarray":
        """Encode words."""

    def checked(self, rows: "np.ndarray", index: int) -> "np.ndarray":
        """Check an embedding (D,), or rows (V, D), of which the mean is returned."""

    def region(self, region: Any, index: int) -> Read:
        """Return a Region as a function of time."""

    def row(self, prompt: Any, index: int) -> "np.ndarray":
        """Read another prompt, which does not change with time."""

    def read(self, prompt: Any, index: int) -> Read:
        """Read another prompt as a function of time."""


class AbsPrompt(ABC):
    """What one source is asked for with; subclasses check their values.

    A new type is one file of this folder with one subclass, preferably a frozen
    dataclass. Its module must not import anything that takes long (numpy, torch): the
    help of the command imports it.

    Attributes:
        prefix: Begins its text form in --query, e.g. "box:"; empty: it has none.
        rule: Its lines in the help of --query, without indentation; the first one
            begins with the prefix.
        example: A query of this form, for tests.
        kind: Its name in the JSON that commands write.
        encodes: What it is encoded from: "pictures", "text", or "" (nothing).
    """

    prefix: str = ""
    rule: str = ""
    example: str = ""
    kind: str = ""
    encodes: str = ""

    @classmethod
    def parse(cls, text: str, video: InputVideo) -> "AbsPrompt":
        """Read the text form.

        Args:
            text: A query, which begins with ``prefix``.
            video: What is separated.

        Raises:
            InputError: it makes no sense.
        """
        raise InputError(f"--query {text!r:.200}: {cls.__name__} has no text form.")

    @abstractmethod
    def row(self, reader: PromptEncoder, index: int) -> "np.ndarray":
        """Return what the model takes, (D,), or a picture (3, H, W).

        Args:
            reader: Encodes pictures and words, and reads other prompts.
            index: Of the prompt, from 0, for messages.

        Raises:
            InputError: the model cannot use it.
        """

    def read(self, reader: PromptEncoder, index: int) -> Read:
        """Return the function of time that the prompt is; here one that is constant.

        Args:
            reader: See row().
            index: See row().

        Raises:
            InputError: see row().
        """
        row = self.row(reader, index)
        return lambda begin, end: row

    def files(self) -> Tuple[PathLike, ...]:
        """Return the files that it names."""
        return ()


def prompt_files(prompt: Any) -> Tuple[PathLike, ...]:
    """Return the files that a prompt of any kind names; a path is its own file."""
    if isinstance(prompt, AbsPrompt):
        return prompt.files()
    return (prompt,) if isinstance(prompt, (str, os.PathLike)) else ()
