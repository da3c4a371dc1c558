"""Kaldi-style tables (``key value`` lines), written so that no reader sees half of one.

A table is trusted because it exists: it is written under a temporary name, flushed to
the disk and renamed. Everything that finds a table may therefore take it as finished.
"""

import contextlib
import csv
import errno
import json
import os
import tempfile
from pathlib import Path
from typing import IO, Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Union

from espnet2_avsep.data.tables.clip_id import is_printable, nfc
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import PathLike

_NAME_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
    *(errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[str]:
    """Make a temporary file beside ``path``; rename it to ``path`` on success.

    On an exception the temporary file is removed and ``path`` is left as it was.

    Args:
        path: The file to write. Its folder is made where missing.

    Yields:
        The temporary file's name. It must be closed when the block ends.

    Raises:
        InputError: no file can be written under this name.
    """
    path = Path(path)
    with _clear_name_errors(path):
        if os.path.exists(path) and not path.is_file():  # /dev/null would be replaced
            kind = "a folder" if path.is_dir() else "no regular file"
            raise InputError(f"{path}: is {kind}; give the name of a file to write.")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not the whole name: with what is added it could be too long.
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:20]}.", suffix=".tmp"
        )
        os.close(handle)
    try:
        yield temporary
        with open(temporary, "r+b") as f:
            os.fsync(f.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        with _clear_name_errors(path):
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def _clear_name_errors(path: Path) -> Iterator[None]:
    """Raise an InputError where the system cannot make a file of this name."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NAME_ERRORS:
            raise
        reason = error.strerror
        others = (parent for parent in path.parents if os.path.lexists(parent))
        if not (nearest := next(others, path)).is_dir():
            reason = f"{nearest} is no folder"
        raise InputError(
            f"{path}: cannot be written ({reason}). Choose another name or folder."
        ) from error


@contextlib.contextmanager
def atomic_write(path: PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file for ``path``; see :func:`atomic_path`.

    Args:
        path: The file to write. Its folder is made where missing.
        mode: "w" (UTF-8 text) or "wb".
    """
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, open(temporary, mode, encoding=encoding) as f:
        yield f


def write_file(path: PathLike, content: Union[str, bytes]) -> None:
    """Write a whole file atomically: text as UTF-8, or bytes."""
    with atomic_write(path, "w" if isinstance(content, str) else "wb") as f:
        f.write(content)


def write_json(path: PathLike, content: Any, **options: Any) -> None:
    """Write a JSON file atomically; ``options`` are those of json.dumps."""
    write_file(path, json.dumps(content, **{"indent": 1, **options}) + "\n")


def read_scp(path: PathLike, allow_empty: bool = False) -> Dict[str, str]:
    """Read a ``key value`` table, keeping the file's order; keys are put into NFC.

    Raises:
        InputError: the file is missing, empty or not UTF-8, a line has no value, a key
            is not unique.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. It is written by an earlier stage: run that stage "
            "again, or correct the path."
        )
    table: Dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); a table in UTF-8 was expected."
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = line.split(maxsplit=1)
        if len(parts) != 2:
            raise InputError(
                f"{path}, line {number}: {line.rstrip()!r} has no value; each line "
                "must be 'key value'."
            )
        key, value = nfc(parts[0]), parts[1].strip()
        if value == "-" and path.suffix == ".scp":  # libsndfile would read stdin
            raise InputError(
                f"{path}, line {number}: '-' means stdin; expected a file's name."
            )
        if key in table:
            raise InputError(
                f"{path}, line {number}: key {key!r} comes a second time; keys "
                "must be unique (utils/fix_data_dir.sh removes duplicates)."
            )
        table[key] = value
    if not table and not allow_empty:
        raise InputError(
            f"{path}: is empty. At least one 'key value' line was expected; look at "
            "the log and the list of skipped clips of the stage that wrote it."
        )
    return table


def value_problem(value: str) -> str:
    """Return why a file's name cannot be a value of a table; "" where it can."""
    if not is_printable(value):
        return "has control characters, line ends or bytes that are not UTF-8"
    if value.startswith("|") or value.endswith("|"):
        return "begins or ends with '|', which tables have for commands"
    if not value or value != value.strip():
        return "is empty, or begins or ends with a blank"
    return ""


def write_scp(path: PathLike, table: Mapping[str, object]) -> None:
    """Write a ``key value`` table atomically, sorted by key as Kaldi wants (LC_ALL=C).

    Raises:
        InputError: a key is empty or holds white space, or a value cannot stand in a
            table (see :func:`value_problem`).
    """
    for key in table:
        if not key or len(key.split()) != 1 or key != key.strip():
            raise InputError(
                f"{path}: the key {key!r} cannot stand in a table; keys must be "
                "non-empty and free of white space."
            )
        problem = value_problem(str(table[key]))
        if problem:
            raise InputError(
                f"{path}: the value of {key}, {str(table[key])!r:.200}, {problem}. "
                "Rename the file or folder."
            )
    with atomic_write(path) as f:
        for key in sorted(table, key=lambda k: k.encode()):
            f.write(f"{key} {table[key]}\n")


class Skipped(NamedTuple):
    """One clip that was left out.

    Attributes:
        key: The clip's id.
        stage: The step that left it out, e.g. "visual".
        reason: Why, in one line.
    """

    key: str
    stage: str
    reason: str


def read_skipped(path: PathLike) -> List[Skipped]:
    """Read a table of skipped clips; a missing file means that none was skipped."""
    path = Path(path)
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as f:
        rows = list(csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    skipped = []
    for number, row in enumerate(rows, 1):
        if len(row) != 3:
            raise InputError(
                f"{path}, line {number}: {len(row)} columns; expected 3, separated by "
                "tabs: key, stage, reason."
            )
        skipped.append(Skipped(*row))
    return skipped


def write_skipped(path: PathLike, skipped: Iterable[Skipped]) -> None:
    """Write the table of skipped clips (tab-separated: key, stage, reason), sorted.

    A row that comes several times is written once.

    The file is written also where nothing was skipped, so that its absence means that
    the step did not run.
    """
    with atomic_write(path) as f:
        for row in sorted(set(skipped)):
            fields = [" ".join(str(value).split()) for value in row]
            line = "\t".join(fields).encode("utf-8", "backslashreplace")
            f.write(line.decode() + "\n")
