"""Several prompts for one source."""

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
from espnet2_avsep.inference.prompts.during import During

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Mean(AbsPrompt):
    """Several prompts for one source; their embeddings are averaged.

    Not for models that take pictures themselves.

    Attributes:
        prompts: Pictures, regions, embeddings or words, in any combination.
    """

    kind = "picture"

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

    def row(self, reader: PromptEncoder, index: int) -> "np.ndarray":
        """See AbsPrompt.row."""
        import numpy as np

        self._check(reader, index)
        return np.mean([reader.row(part, index) for part in self.prompts], 0)

    def read(self, reader: PromptEncoder, index: int) -> Read:
        """See AbsPrompt.read; parts may change with time."""
        import numpy as np

        self._check(reader, index)
        parts = [reader.read(part, index) for part in self.prompts]
        return lambda begin, end: np.mean([read(begin, end) for read in parts], 0)

    def files(self) -> Tuple[PathLike, ...]:
        """Return the files that its parts name."""
        return tuple(file for part in self.prompts for file in prompt_files(part))

    @staticmethod
    def _check(reader: PromptEncoder, index: int) -> None:
        if reader.dim is None:
            raise InputError(
                f"prompt {index + 1}: this model takes pictures themselves, and "
                "several cannot be averaged; give one."
            )
