"""Prompts that are neither a picture nor an embedding, one file for each type.

Every module of this folder is imported; a class of it that derives from AbsPrompt is a
type of prompt, whose text form the commands know. All of them import fast.
"""

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Type

from espnet2_avsep.inference.prompts.abs_prompt import AbsPrompt, InputVideo
from espnet2_avsep.inference.prompts.region import LEFT, RIGHT, WHOLE, Box, check_box
from espnet2_avsep.inference.prompts.span import Span, check_span

if TYPE_CHECKING:  # what _find_types finds
    from espnet2_avsep.inference.prompts.during import During as During
    from espnet2_avsep.inference.prompts.mean import Mean as Mean
    from espnet2_avsep.inference.prompts.region import Region as Region
    from espnet2_avsep.inference.prompts.text import Text as Text


def _find_types() -> Dict[str, Type[AbsPrompt]]:
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem != "__init__":
            module = importlib.import_module(f"{__name__}.{path.stem}")
            for name, value in vars(module).items():
                if (
                    inspect.isclass(value)
                    and issubclass(value, AbsPrompt)
                    and value.__module__ == module.__name__
                    and not inspect.isabstract(value)
                ):
                    found[name] = value
    return found


# Name -> class, in the order in which text forms are listed.
PROMPT_TYPES = _find_types()
globals().update(PROMPT_TYPES)

__all__ = [*PROMPT_TYPES, "AbsPrompt", "Box", "InputVideo", "Span"]
__all__ += ["LEFT", "PROMPT_TYPES", "RIGHT", "WHOLE", "check_box", "check_span"]
