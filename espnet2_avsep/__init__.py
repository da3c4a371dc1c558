"""Audio-visual sound source separation for the ESPnet community."""

from typing import TYPE_CHECKING

from espnet2_avsep.environment import prepare_environment
from espnet2_avsep.moved import find_moved_modules

if TYPE_CHECKING:
    from espnet2_avsep.inference.file_separation import separate_file as separate_file
    from espnet2_avsep.inference.prompts import During as During
    from espnet2_avsep.inference.prompts import Mean as Mean
    from espnet2_avsep.inference.prompts import Region as Region
    from espnet2_avsep.inference.prompts import Text as Text
    from espnet2_avsep.inference.separate import Chunking as Chunking
    from espnet2_avsep.inference.separate import SeparateAV as SeparateAV

__version__ = "0.2.0"

_PUBLIC = ("Chunking", "During", "Mean", "Region", "SeparateAV", "Text")
__all__ = [*_PUBLIC, "separate_file", "__version__"]

prepare_environment()
find_moved_modules()


def __getattr__(name: str):
    """Import what is public on first use: most of it brings torch with it."""
    if name == "separate_file":
        from espnet2_avsep.inference.file_separation import separate_file

        return separate_file
    from espnet2_avsep.inference.prompts import PROMPT_TYPES

    if name in PROMPT_TYPES:
        return PROMPT_TYPES[name]
    if name in _PUBLIC:
        from espnet2_avsep.inference import separate

        return getattr(separate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
