"""Words as a prompt."""

import dataclasses
from typing import TYPE_CHECKING, Optional

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts.abs_prompt import (
    AbsPrompt,
    InputVideo,
    PromptEncoder,
)

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Text(AbsPrompt):
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

    prefix = "text:"
    rule = "text:WORDS    the words, also where a file has that name"
    example = "text:violin"
    kind = "text"
    encodes = "text"

    text: str
    template: str = "a photo of {}"

    def __str__(self) -> str:
        return self.template.format(self.text)

    @classmethod
    def parse(cls, text: str, video: Optional[InputVideo] = None) -> "Text":
        """Read text:WORDS, or words alone.

        Raises:
            InputError: no words, or too many.
        """
        words = text.removeprefix(cls.prefix)
        if not words.strip() or "\0" in words or len(words) > 1000:
            raise InputError(
                f"--query {text[:60]!r}: expected some words, at most 1000 letters."
            )
        return cls(words.strip())

    def row(self, reader: PromptEncoder, index: int) -> "np.ndarray":
        """See AbsPrompt.row."""
        if not isinstance(self.text, str) or not self.text.strip():
            raise InputError(f"prompt {index + 1} is an empty text.")
        return reader.text(str(self), index)
