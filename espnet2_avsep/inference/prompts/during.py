"""A prompt for a source that sounds in some time spans only."""

import dataclasses
from typing import TYPE_CHECKING, Any, Sequence, Tuple

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts.abs_prompt import (
    AbsPrompt,
    PathLike,
    PromptEncoder,
    Read,
    prompt_files,
)
from espnet2_avsep.inference.prompts.span import Span, check_span

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class During(AbsPrompt):
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

    def row(self, reader: PromptEncoder, index: int) -> "np.ndarray":
        """Return the row of its prompt."""
        return reader.row(self.prompt, index)

    def read(self, reader: PromptEncoder, index: int) -> Read:
        """Return the function of time of its prompt."""
        return reader.read(self.prompt, index)

    def files(self) -> Tuple[PathLike, ...]:
        """Return the files that its prompt names."""
        return prompt_files(self.prompt)
