"""Parameters of a model, grouped by the settings they are optimised with."""

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from torch import nn

from espnet2_avsep.errors import InputError


def parameter_groups(
    model: nn.Module, entries: Sequence[Mapping[str, Any]]
) -> List[Dict[str, Any]]:
    """Group the parameters that learn, as torch's optimizers take them.

    Args:
        model: Whose parameters.
        entries: The option optim_groups, ``{prefix, lr, ...}`` each: parameters whose
            names begin with the prefix have these settings. Of several prefixes that
            fit, the longest counts. The setting ``optimizer`` is split_by_optimizer's.

    Returns:
        One group for each entry, in order, after the group of all other parameters.

    Raises:
        InputError: an entry without prefix or settings, or one that fits no parameter.
    """
    prefixes = []
    for entry in entries:
        if not isinstance(entry, Mapping) or not entry.get("prefix") or len(entry) < 2:
            raise InputError(
                f"optim_groups: {entry!r} must be a mapping with 'prefix' and at least "
                "one setting of the optimizer, for instance {prefix: visual_adapter., "
                "lr: 1.0e-4}."
            )
        prefixes.append(entry["prefix"])
    members: Dict[str, List[nn.Parameter]] = {prefix: [] for prefix in ["", *prefixes]}
    if len(members) <= len(prefixes):
        raise InputError(f"optim_groups: a prefix comes twice: {', '.join(prefixes)}.")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            fitting = [prefix for prefix in members if name.startswith(prefix)]
            members[max(fitting, key=len)].append(parameter)
    for prefix in prefixes:
        if not members[prefix]:
            parts = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
            raise InputError(
                f"optim_groups: no parameter that learns begins with {prefix!r}; the "
                f"model's parts are {', '.join(parts)}."
            )
    groups: List[Dict[str, Any]] = [{"params": members[""]}] if members[""] else []
    for entry in entries:
        settings = {key: value for key, value in entry.items() if key != "prefix"}
        groups.append({"params": members[entry["prefix"]], **settings})
    return groups


def split_by_optimizer(
    groups: Sequence[Mapping[str, Any]],
) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]:
    """Split groups into those of the first optimizer and those with ``optimizer: 2``.

    Raises:
        InputError: another number, or nothing is left to the first one.
    """
    split: Dict[Any, List[Dict[str, Any]]] = {1: [], 2: []}
    for group in groups:
        settings = dict(group)
        number = settings.pop("optimizer", 1)
        if number not in split:
            raise InputError(
                f"optim_groups: 'optimizer: {number}'; expected 1 (optim) or 2 "
                "(optim2)."
            )
        split[number].append(settings)
    if not split[1]:
        raise InputError(
            "optim_groups: every parameter is given to optim2; use only optim."
        )
    return split[1], split[2]
