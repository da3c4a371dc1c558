"""Read and write YAML; what is read may come with a model from somebody else."""

from pathlib import Path
from typing import Any, Dict, Iterable, Mapping

from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError, shown

MAX_BYTES = 1 << 20
# Keys and values, with aliases expanded; the config of a training has about 500.
MAX_NODES = 50_000
MAX_DEPTH = 50


def parse_yaml(text: str, where: object) -> Any:
    """Parse a YAML text of plain values.

    Args:
        text: At most ``MAX_BYTES`` long.
        where: The file or option that it comes from, for messages.

    Raises:
        InputError: not valid YAML, a key that comes twice, too long, too deep, or
            aliases that would expand to more than ``MAX_NODES`` values.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Stops at the first node that is too deep, or one too many."""

        depth = count = 0

        def compose_node(self, parent, index):
            self.depth, self.count = self.depth + 1, self.count + 1
            if self.depth > MAX_DEPTH:
                raise ValueError(f"more than {MAX_DEPTH} levels of nesting")
            if self.count > MAX_NODES:
                raise ValueError(f"more than {MAX_NODES} values")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    if len(text) > MAX_BYTES:
        raise InputError(f"{where}: has more than {MAX_BYTES} characters; refused.")
    try:
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_node(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = getattr(error, "problem", None) or str(error) or type(error).__name__
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(
            f"{where}: is not valid YAML: {place}{' '.join(reason.split())}"
        ) from None


def _check_node(node, sizes: Dict[int, int]) -> int:
    """Return how many values a node has with all aliases expanded.

    Args:
        node: Of yaml's composer; an alias is the very node that it refers to.
        sizes: id of a node -> its size; 0 while it is being looked at.

    Raises:
        ValueError: too many, or a node within itself.
    """
    if id(node) in sizes:
        if sizes[id(node)] == 0:
            raise ValueError("an alias is within the value that it refers to")
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    if not isinstance(node.value, str):
        keys = [entry[0] for entry in node.value if isinstance(entry, tuple)]
        _check_unique(key for key in keys if isinstance(key.value, str))
        for entry in node.value:
            for part in entry if isinstance(entry, tuple) else (entry,):
                size += _check_node(part, sizes)
    if size > MAX_NODES:
        raise ValueError(f"its aliases expand to more than {MAX_NODES} values")
    sizes[id(node)] = size
    return size


def _check_unique(keys: Iterable) -> None:
    """Raise a ValueError where a key comes twice: of its values one would be lost."""
    lines: Dict[str, int] = {}
    for key in keys:
        name, line = f"{key.tag} {key.value}", key.start_mark.line + 1
        if name in lines:
            raise ValueError(
                f"line {line}: the key {shown(key.value)} is in line {lines[name]} "
                "too; keep one of them"
            )
        lines[name] = line


def read_mapping(path: PathLike) -> Dict[str, Any]:
    """Read a YAML file that must hold a mapping.

    Raises:
        InputError: it is missing, or see :func:`parse_yaml`; it is no mapping.
    """
    path = Path(path)
    try:
        with path.open("rb") as f:
            content = f.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"{path}: has more than {MAX_BYTES} bytes; refused.")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read ({reason}).") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from None
    found = parse_yaml(text, path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a mapping, found {shown(found)}.")
    return found


def write_yaml(path: PathLike, content: Mapping[str, Any]) -> None:
    """Write a mapping atomically, in its own order."""
    import yaml

    with atomic_write(path) as f:
        yaml.safe_dump(dict(content), f, sort_keys=False, allow_unicode=True)


def read_yaml(path: PathLike) -> Dict[str, Any]:
    """Read a mapping; empty where there is no file.

    Raises:
        InputError: as for :func:`read_mapping`.
    """
    return read_mapping(path) if Path(path).is_file() else {}
