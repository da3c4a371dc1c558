"""One part of a model, or another class that a config names, built from its values."""

import argparse
import inspect
from typing import Any, Mapping, Type

import torch

from espnet2_avsep.data.conditions import needed
from espnet2_avsep.errors import InputError, close_to, shown
from espnet2_avsep.registry import Registry, separator_choices
from espnet2_avsep.separator.abs_separator import AbsSeparator
from espnet2_avsep.tasks.conf_values import check_values, check_weights


def construct(cls: Type, conf: Mapping[str, Any], option: str, **given: Any) -> Any:
    """Build ``cls(**given, **conf)``; a wrong key or value names the config's option.

    Raises:
        InputError: conf holds a key that the constructor does not have, or a value it
            refuses.
    """
    allowed = inspect.signature(cls.__init__).parameters
    keys = [k for k in allowed if k not in ("self", *given)]
    if not isinstance(conf, Mapping):
        raise InputError(f"{option}: {shown(conf)}; expected a mapping of arguments.")
    unknown = sorted(map(str, set(conf) - set(keys)))
    if unknown:
        raise InputError(
            f"{option}: unknown key(s) {', '.join(unknown)} for {cls.__name__}"
            f"{close_to(unknown[0], keys)}; it takes {', '.join(keys)}."
        )
    values = check_values(cls, conf, option)
    try:
        if option in ("separator_conf", "visual_adapter_conf"):
            check_weights(cls, values, option)
        return cls(**given, **values)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{option}: {error}") from error


def build_part(args: argparse.Namespace, choices: Registry) -> Any:
    """Build the class that a config names for one part; None where it names none."""
    cls = choices.get_class(getattr(args, choices.name))
    if cls is None:
        return None
    conf = getattr(args, f"{choices.name}_conf") or {}
    return construct(cls, conf, f"{choices.name}_conf")


def build_separator(args: argparse.Namespace) -> AbsSeparator:
    """Build the separator of a config.

    Raises:
        InputError: unknown keys or values; a size that it must declare is missing.
    """
    separator = build_part(args, separator_choices)
    rows = [c.row_size for c in needed(separator) if c.row_size is not None]
    for name in ("visual_dim", "bottleneck_dim", *rows):
        size = getattr(separator, name, None)
        if not isinstance(size, int):
            raise InputError(
                f"separator: {args.separator} has the {name} {size!r}; expected a "
                "whole number, which its class or constructor must set (see "
                "AbsSeparator)."
            )
    return separator


def separator_without_weights(args: argparse.Namespace) -> AbsSeparator:
    """Build the separator of a config on torch's meta device, to ask what it needs.

    Raises:
        InputError: see :func:`build_separator`.
    """
    with torch.device("meta"):
        return build_separator(args)
