"""Scores over a value of the experiments' configurations, e.g. lambda."""

import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.comparison import Comparison
from espnet2_avsep.metrics.score_table import TITLES, decibel

CURVE_METRICS = ("sdr", "sir", "sar", "si_sdr", "sdr_i")


class CurvePoint(NamedTuple):
    """A system at its value.

    Attributes:
        value: Of the config, as text.
        system: Name of the system.
        mean: Score -> mean in dB.
        interval: Score -> its 95 % interval.
    """

    value: str
    system: str
    mean: Mapping[str, float]
    interval: Mapping[str, Tuple[float, float]]


def config_value(config: Mapping[str, Any], key: str) -> Optional[Any]:
    """Look a value up by its dotted path; None where there is none.

    A step into a list goes to the entry of that name ('criterions.alignment.weight'), a
    criterion without a weight has the weight 1.

    Args:
        config: Content of a config.yaml.
        key: E.g. 'separator_conf.channels'.
    """
    found: Any = config
    for step in key.split("."):
        if isinstance(found, list):
            named = [e for e in found if isinstance(e, dict) and e.get("name") == step]
            found = {"weight": 1.0, **named[0]} if named else None
        elif isinstance(found, dict):
            found = found.get(step)
        else:
            return None
    return found


def curve_points(
    configs: Mapping[str, Mapping[str, Any]],
    result: Comparison,
    key: str,
    missing: Optional[str] = None,
) -> List[CurvePoint]:
    """Return the systems in the order of their values: numbers, then words.

    Args:
        configs: System -> its config.yaml.
        result: Scores of the systems.
        key: Dotted path of the value.
        missing: The value to use where a config has none.

    Raises:
        InputError: a config has no such value, or one that is no single value.
    """
    values: Dict[str, str] = {}
    for name, config in configs.items():
        value = config_value(config, key)
        value = missing if value is None else value
        if value is None:
            raise InputError(
                f"--over {key}: the config of {name} has no such value. Leave it out, "
                "or give it with --over_missing (0 for the weight of a "
                "criterion that is not there)."
            )
        if isinstance(value, (dict, list)):
            raise InputError(
                f"--over {key}: is {value!r} in the config of {name}; give the path of "
                "a single value, e.g. criterions.alignment.weight."
            )
        values[name] = _text(value)
    return [
        CurvePoint(values[name], name, result.mean[name], result.interval[name])
        for name in sorted(configs, key=lambda name: (*_rank(values[name]), name))
    ]


def curve_lines(points: Sequence[CurvePoint], key: str) -> List[List[str]]:
    """Return the table of a curve."""
    header = [key, "system"]
    for metric in CURVE_METRICS:
        header += [TITLES[metric], f"{TITLES[metric]} low", f"{TITLES[metric]} high"]
    lines = [header]
    for point in points:
        line = [point.value, point.system]
        for metric in CURVE_METRICS:
            numbers = (point.mean[metric], *point.interval[metric])
            line += [decibel(x) if math.isfinite(x) else "" for x in numbers]
        lines.append(line)
    return lines


def _text(value: Any) -> str:
    """One text for one value: 1, 1.0 and "1" are the same number."""
    rank, number, text = _rank(str(value))
    return f"{number:g}" if rank == 0 else text


def _rank(value: str) -> Tuple[int, float, str]:
    try:
        number = float(value)
    except ValueError:
        return 1, 0.0, value
    return (0, number, "") if math.isfinite(number) else (1, 0.0, value)
