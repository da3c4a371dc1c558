"""Phases of one training: what learns in each, and which epochs it has."""

from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from espnet2_avsep.errors import InputError, shown

KEYS = ("name", "epochs", "freeze", "lr_factor")
# Learning rates among the settings of an optimizer's group or the state of a scheduler.
_RATES = ("lr", "initial_lr", "base_lrs", "_last_lr", "warmup_lr_list", "eta_min")
_RATES += ("max_lr", "max_lrs", "base_max_lr", "min_lr", "min_lrs")


class Phase(NamedTuple):
    """A part of a training.

    Attributes:
        name: What the separator's set_phase() is told.
        first: Number of its first epoch, from 1.
        last: Number of its last epoch.
        freeze: Prefixes of the parameters that do not learn.
        lr_factor: Factor of the learning rates.
    """

    name: str
    first: int
    last: int
    freeze: Tuple[str, ...] = ()
    lr_factor: float = 1.0

    def learns(self, parameter: str) -> bool:
        """Whether a parameter of this name learns."""
        return not parameter.startswith(self.freeze)


def parse_phases(
    entries: Sequence[Any],
    max_epoch: int,
    known: Collection[str],
    parameters: Collection[str],
) -> List[Phase]:
    """Read the option ``phases``.

    Args:
        entries: ``{name, epochs, freeze, lr_factor}`` each. The last one has no epochs:
            it lasts until max_epoch.
        max_epoch: Epochs of the training.
        known: Phases that the separator knows.
        parameters: Names of all parameters that learn in any phase.

    Raises:
        InputError: a wrong entry.
    """
    phases: List[Phase] = []
    first = 1
    for number, entry in enumerate(entries, 1):
        is_last = number == len(entries)
        where = f"phases, entry {number}"
        _check_keys(entry, where)
        name = entry.get("name")
        if name not in known:
            raise InputError(
                f"{where}: name is {shown(name)}; "
                + (
                    f"expected one of {', '.join(known)}."
                    if known
                    else "but this separator has no phases. Remove the option."
                )
            )
        epochs = _epochs(entry, where, is_last, max_epoch - first + 1)
        freeze = _freeze(entry, where, parameters)
        factor = entry.get("lr_factor", 1.0)
        if not isinstance(factor, (int, float)) or not factor > 0:
            raise InputError(
                f"{where}: lr_factor is {shown(factor)}; expected a number above 0."
            )
        last = first + epochs - 1
        phases.append(Phase(name, first, last, freeze, float(factor)))
        first = last + 1
    return phases


def _check_keys(entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping):
        raise InputError(
            f"{where}: {shown(entry)}; expected a mapping with name, epochs and freeze."
        )
    unknown = sorted(map(str, set(entry) - set(KEYS)))
    if unknown:
        raise InputError(
            f"{where}: unknown key(s) {', '.join(unknown)}; expected {', '.join(KEYS)}."
        )


def _epochs(entry: Mapping[str, Any], where: str, is_last: bool, left: int) -> int:
    """Return the number of epochs of a phase, of those that are left."""
    epochs = entry.get("epochs")
    if is_last:
        if epochs is not None:
            raise InputError(
                f"{where}: epochs is {shown(epochs)}, but the last phase lasts until "
                "max_epoch. Remove it there, and set max_epoch."
            )
        epochs = left
    elif type(epochs) is not int or epochs < 1:
        raise InputError(
            f"{where}: epochs is {shown(epochs)}; expected a whole number, 1 or more."
        )
    if epochs > left or left < 1 or (not is_last and epochs == left):
        raise InputError(
            f"{where}: {max(left, 0)} epochs of max_epoch are left for it and the "
            "phases after it, which is too few. Raise max_epoch, or lower the epochs "
            "of the phases."
        )
    return epochs


def _freeze(
    entry: Mapping[str, Any], where: str, parameters: Collection[str]
) -> Tuple[str, ...]:
    prefixes = entry.get("freeze") or []
    if not isinstance(prefixes, (list, tuple)) or not all(
        isinstance(prefix, str) and prefix for prefix in prefixes
    ):
        raise InputError(
            f"{where}: freeze is {shown(prefixes)}; expected a list of prefixes, for "
            "instance [separator.plus.]."
        )
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in parameters):
            parts = sorted({".".join(name.split(".")[:2]) for name in parameters})
            raise InputError(
                f"{where}: no parameter that learns begins with {prefix!r}; the "
                f"model's parts are {', '.join(parts)}."
            )
    if all(name.startswith(tuple(prefixes)) for name in parameters):
        raise InputError(f"{where}: freeze leaves no parameter that learns.")
    return tuple(prefixes)


def restarted(
    states: Dict[str, Any],
    phase: Phase,
    optimizers: Sequence[Mapping[str, Any]],
    schedulers: Sequence[Any],
) -> Dict[str, Any]:
    """Return a trainer's checkpoint as a phase starts from it.

    Optimizers and schedules are those of the beginning, their learning rates times the
    phase's factor: moments of a gradient of the phase before belong to another loss.
    CCoL's released stages are programs of their own, which take over weights only. The
    statistics of earlier epochs are left out, so that the best epoch is one of this
    phase: losses of other phases measure something else.

    Args:
        states: The checkpoint after the last epoch of the phase before.
        phase: The phase.
        optimizers: States of the optimizers at the beginning of the training.
        schedulers: States of the schedulers then; None where there is none.
    """
    factor = phase.lr_factor
    states = {**states, "reporter": {**states["reporter"], "stats": {}}}
    states["optimizers"] = [
        {
            **start,
            "param_groups": [
                # In a training for a CPU time, initial_lr is that of the phase before.
                {**group, **_rates({"initial_lr": group["lr"], **group}, factor)}
                for group in start["param_groups"]
            ],
        }
        for start in optimizers
    ]
    states["schedulers"] = [
        state and {**state, **_rates(state, factor)} for state in schedulers
    ]
    return states


def _rates(settings: Mapping[str, Any], factor: float) -> Dict[str, Any]:
    """Return the learning rates among some settings, times the factor."""
    found: Dict[str, Any] = {}
    for key in _RATES:
        value = settings.get(key)
        if isinstance(value, list):
            found[key] = [rate * factor for rate in value]
        elif value is not None:
            found[key] = value * factor
    return found
