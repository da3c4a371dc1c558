"""What the option freeze_param names, which ESPnet takes without a word if unknown."""

from typing import Optional, Sequence

from torch import nn

from espnet2_avsep.errors import InputError, close_to, shown
from espnet2_avsep.layers.standardise import Standardise


def check_frozen(model: nn.Module, names: Optional[Sequence[str]]) -> None:
    """Check freeze_param: names of parameters, or of parts of the model.

    A part that a model may have, and this one does not have (None), may be named: so
    one list serves several systems.

    Args:
        model: Whose parts.
        names: The option.

    Raises:
        InputError: it is no list, there is no such part, or nothing is left to learn.
    """
    if isinstance(names, str):
        raise InputError(f"freeze_param is {shown(names)}; expected a list of names.")
    for name in names or ():
        if not _is_part(model, name):
            known = [name for name, _ in model.named_modules() if name]
            known += [name for name, _ in model.named_parameters()]
            parts = [name for name in known if name.count(".") == 1]
            raise InputError(
                f"freeze_param: the model has no part {shown(name)}"
                f"{close_to(name, known)}; it has {', '.join(parts)}, and their parts."
            )
    learns = [n for n, p in model.named_parameters() if p.requires_grad]
    if learns and all(_names(names, name) for name in learns):
        raise InputError("freeze_param leaves no parameter that learns.")


def keep_statistics(model: nn.Module, names: Optional[Sequence[str]]) -> None:
    """Let what is frozen keep statistics that do not depend on requires_grad.

    (Those of BatchNorm do: see ESPnetAVSeparationModel.train.)

    Args:
        model: Its modules are changed.
        names: The option freeze_param.
    """
    for name, module in model.named_modules():
        if isinstance(module, Standardise) and _names(names, name):
            module.collects = False
    adapter = model.visual_adapter
    if _names(names, "visual_adapter.features") and hasattr(
        adapter, "frozen_statistics"
    ):
        # Whatever the option of this name says.
        adapter.frozen_statistics = "pretrained"


def _names(names: Optional[Sequence[str]], part: str) -> bool:
    """Whether one of the names is that of a part, or of a part around it."""
    return f"{part}.".startswith(tuple(f"{name}." for name in names or ()))


def _is_part(model: nn.Module, name: str) -> bool:
    place, _, last = str(name).rpartition(".")
    try:
        part = getattr(model.get_submodule(place), last)
    except AttributeError:
        return False
    return part is None or isinstance(part, (nn.Module, nn.Parameter))
