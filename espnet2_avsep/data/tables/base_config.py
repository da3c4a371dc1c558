"""Configurations that name another one as their base, and say only what differs."""

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.data.tables.yaml_file import read_mapping, write_yaml
from espnet2_avsep.errors import InputError, shown

BASE = "base"
# What a configuration says of itself only.
NOT_INHERITED = ("system", "published")
MOST_LEVELS = 5


def read_config(path: PathLike) -> Dict[str, Any]:
    """Read a configuration, with what its base has and it does not say.

    ``base: other.yaml`` names a file in the same folder (of a link, also in that of the
    file it leads to), which may have a base too.
    A key of the file replaces that of its base, with two exceptions:

      * ``X_conf`` is merged with the base's key by key, unless the file chooses another
        ``X`` (``separator: co_separation`` does not take over ``separator_conf``);
      * ``system`` and ``published`` are never taken over.

    A list replaces a list. ``X: null`` unsets what the base has.

    Args:
        path: A YAML file.

    Returns:
        The complete configuration, without ``base``.

    Raises:
        InputError: see :func:`read_mapping`; a base that is not a file name, or more
            than ``MOST_LEVELS`` bases in a row, as when a file is its own base.
    """
    return _read(Path(path), ())


def write_config(path: PathLike, output: PathLike) -> None:
    """Write a configuration with what its base has, and its own path as ``config``.

    As ESPnet writes config.yaml of a training: complete, so that it can be read
    without the base.

    Raises:
        InputError: see :func:`read_config`.
    """
    write_yaml(output, {"config": str(path), **read_config(path)})


def config_words(path: PathLike, prefixes: Sequence[str]) -> List[str]:
    """Return the keys of a configuration and their values as words of a command line.

    Args:
        path: A YAML file of options; it may have a base.
        prefixes: Of which each key has one.

    Returns:
        --key value --key value ...: true and false for a bool, an empty word for null.

    Raises:
        InputError: see :func:`read_config`; another key, or a value of several parts.
    """
    words = []
    for key, value in read_config(path).items():
        if not isinstance(key, str) or not key.startswith(tuple(prefixes)):
            names = ", ".join(f"{prefix}*" for prefix in prefixes)
            raise InputError(f"{path}: has {shown(key)}; expected only {names}.")
        if isinstance(value, (dict, list)):
            raise InputError(
                f"{path}: {key} is {shown(value)}; expected a word or a number, as on "
                "the command line."
            )
        if value is None or isinstance(value, bool):
            value = {None: "", True: "true", False: "false"}[value]
        words += [f"--{key}", str(value)]
    return words


def _read(path: Path, above: Tuple[Path, ...]) -> Dict[str, Any]:
    config = read_mapping(path)
    if BASE not in config:
        return config
    name = config.pop(BASE)
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise InputError(
            f"{path}: base is {shown(name)}; expected the name of a YAML file in the "
            "same folder."
        )
    chain = (*above, path)
    if len(chain) > MOST_LEVELS:
        raise InputError(
            f"{chain[0]}: has more than {MOST_LEVELS} bases in a row: "
            f"{', '.join(p.name for p in chain[1:])}. Is a file its own base?"
        )
    base = path.with_name(name)
    if not base.is_file() and path.is_symlink():  # conf/train.yaml -> tuning/...
        base = path.resolve().with_name(name)
    if not base.is_file():
        raise InputError(
            f"{path}: base is {name}, but there is no {base}. Copy it there, or write "
            "the whole configuration (avsep_train --config FILE --print_config)."
        )
    return merge(_read(base, chain), config)


def merge(base: Dict[str, Any], own: Dict[str, Any]) -> Dict[str, Any]:
    """Return a configuration completed by its base; see :func:`read_config`.

    Args:
        base: Complete configuration.
        own: What differs; neither is changed.
    """
    merged = {k: v for k, v in base.items() if k not in NOT_INHERITED}
    for key, value in own.items():
        if key in base and not key.endswith("_conf") and value != base[key]:
            merged.pop(f"{key}_conf", None)
    for key, value in own.items():
        old = merged.get(key)
        if key.endswith("_conf") and isinstance(old, dict) and isinstance(value, dict):
            value = {**old, **value}
        merged[key] = value
    return merged
