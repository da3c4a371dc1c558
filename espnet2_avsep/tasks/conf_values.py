"""Whether the values of a config can be arguments of the class that they are for.

A config may come with a model from somebody else, so that wrong types must give a clear
message, and numbers that size a network must not fill the memory.
"""

import collections.abc
import inspect
import types
import typing
from typing import Any, Dict, Mapping, Type, Union

import torch

from espnet2_avsep.errors import InputError, shown

# Numbers of parts that are built one after the other.
_COUNTS = ("layers", "blocks", "heads", "cycles", "levels")
MOST_PARTS = 64
# Any other whole number: channels, dimensions, sizes of windows.
MOST = 1 << 18
# The largest system has 33 M.
MAX_WEIGHTS = 10**9
# Whole numbers that size nothing.
_UNLIMITED = ("seed", "segment_samples", "repeat")
# ESPnet's STFT takes any number, and fails when it is used.
_POSITIVE = ("n_fft", "hop_length", "win_length", "default_fs")
_SEQUENCES = (list, tuple, collections.abc.Sequence)


def check_values(cls: Type, conf: Mapping[str, Any], option: str) -> Dict[str, Any]:
    """Return the values with which a class is built, numbers as numbers.

    Args:
        cls: The class; what its constructor does not annotate is not checked.
        conf: Its arguments, keys are known to be some.
        option: What names ``conf`` in the config.

    Raises:
        InputError: a value of another type than the constructor's, or a number that is
            no plausible size.
    """
    hints = typing.get_type_hints(cls.__init__)
    parameters = inspect.signature(cls.__init__).parameters
    values = {}
    for key, value in conf.items():
        if key in hints and not (value is None and parameters[key].default is None):
            value = _number(value, hints[key])
            if not _fits(value, hints[key]):
                raise InputError(
                    f"{option}.{key}: {shown(value)} is of the wrong type; expected "
                    f"{_words(hints[key])}."
                )
            _check_size(value, key, option)
        values[key] = value
    return values


def check_weights(cls: Type, conf: Mapping[str, Any], option: str) -> None:
    """Raise where a network would have more than ``MAX_WEIGHTS`` weights.

    Nothing is allocated: it is built on torch's meta device, where a number is more
    than twice its default (the first time costs seconds for some networks).

    Raises:
        InputError: it would.
    """
    parameters = inspect.signature(cls.__init__).parameters
    if all(_is_modest(v, parameters[key].default) for key, v in conf.items()):
        return
    with torch.device("meta"):
        network = cls(**conf)
    count = sum(value.numel() for value in network.parameters())
    if count > MAX_WEIGHTS:
        raise InputError(
            f"{option}: makes {count / 1e9:.1f} billion weights; expected at most "
            f"{MAX_WEIGHTS / 1e9:g} billion."
        )


def _is_modest(value: Any, default: Any) -> bool:
    if isinstance(value, (list, tuple)):
        default = default if isinstance(default, tuple) else ()
        return len(value) <= len(default) and all(map(_is_modest, value, default))
    if not isinstance(value, int):
        return True
    return value <= 2 * (default if isinstance(default, int) else 256)


def _number(value: Any, hint: Any) -> Any:
    """Return a float that YAML read as text ("1e-3") as a number."""
    if isinstance(value, str) and float in _choices(hint) and str not in _choices(hint):
        try:
            return float(value)
        except ValueError:
            pass
    return value


def _choices(hint: Any) -> tuple:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, choice) for choice in _choices(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint in (int, float):
        allowed = (int,) if hint is int else (int, float)
        return isinstance(value, allowed) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if hint is dict or origin in (dict, collections.abc.Mapping):
        return isinstance(value, dict)
    if origin in _SEQUENCES:
        of = [arg for arg in typing.get_args(hint) if arg is not Ellipsis]
        return isinstance(value, (list, tuple)) and all(_fits(v, of[0]) for v in value)
    return True  # a module, or what else a config cannot name


def _check_size(value: Any, key: str, option: str) -> None:
    if isinstance(value, (list, tuple)):
        if len(value) > MOST_PARTS:
            raise InputError(
                f"{option}.{key}: has {len(value)} entries; expected at most "
                f"{MOST_PARTS}."
            )
        for entry in value:
            _check_size(entry, key, option)
    if isinstance(value, bool) or not isinstance(value, int) or key in _UNLIMITED:
        return
    most = MOST_PARTS if key.endswith(_COUNTS) else MOST
    least = 1 if key in _POSITIVE else -most
    if not least <= value <= most:
        raise InputError(
            f"{option}.{key}: {shown(value)} is no plausible size; expected "
            + (f"1 to {most}." if least == 1 else f"at most {most}.")
        )


def _words(hint: Any) -> str:
    return " or ".join(getattr(c, "__name__", None) or str(c) for c in _choices(hint))
