"""Mappings in YAML files."""

from pathlib import Path
from typing import Dict

from espnet2_avsep.data.scp import PathLike
from espnet2_avsep.errors import InputError


def read_yaml(path: PathLike) -> Dict:
    """Read a mapping; empty where there is no file.

    Raises:
        InputError: the file is not a mapping in YAML.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping, found {content!r}.")
    return content
