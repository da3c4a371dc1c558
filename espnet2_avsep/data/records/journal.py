"""A list of finished work that outlives the process that kept it."""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Dict, List

from espnet2_avsep.data.records.content import ends_digest
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError


class Journal:
    """Finished pieces of work, one JSON line each, written to the disk one by one.

    The first line holds the settings of the work. Where they differ from before, what
    was finished is worth nothing and the journal begins anew. A last line that was cut
    off by a crash is dropped. Only one process at a time can hold a journal.

    Args:
        path: The file; made where missing.
        settings: Everything that decides what the results look like.
        version: Of the code that makes them.

    Attributes:
        entries: key -> the fields that were written for it last.

    Raises:
        InputError: another process holds the journal.
    """

    def __init__(self, path: PathLike, settings: Dict[str, Any], version: int = 1):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.entries: Dict[str, Dict[str, Any]] = {}
        # Unbuffered: a write that fails must not come back when the file is closed.
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115
        self._lock()
        if version > 1:  # the first one is not named
            settings = {**settings, "version": version}
        first = _line({"settings": settings})
        self._file.seek(0)
        content = self._file.read()
        size = 0
        if content.startswith(first):
            size = len(first) + self._parse(content[len(first) :])
        self._file.truncate(size)
        if size == 0:
            self._append(first)

    def add(self, key: str, **fields: Any) -> None:
        """Note that a piece of work is finished; on the disk when this returns."""
        self._append(_line({"key": key, **fields}))
        self.entries[key] = fields

    def close(self) -> None:
        """Let other processes have the journal."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _parse(self, content: bytes) -> int:
        """Read entries up to the first damaged one; return how many bytes they take."""
        size = 0
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                fields = json.loads(line)
                key = fields.pop("key")
            except (ValueError, TypeError, AttributeError, KeyError):
                break
            self.entries[key] = fields
            size += len(line)
        return size

    def _append(self, line: bytes) -> None:
        self._file.write(line)
        os.fsync(self._file.fileno())

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise InputError(
                f"{self.path}: another process is at work in this folder. Wait for it, "
                "or end it, before this step is started again."
            ) from error
        except OSError:
            pass  # a file system without locks


def signature(source: str) -> List[Any]:
    """Return what tells whether the content behind a table's value is still the same.

    Args:
        source: A file, a folder, or a command.

    Returns:
        Path, size, time in ns, and a digest of the file's first and last bytes (of a
        folder: of its files' names, sizes and times). Of a command, its words only.
    """
    with contextlib.suppress(OSError):
        status = os.stat(source)
        return [source, status.st_size, status.st_mtime_ns, ends_digest(source)]
    return [source]


def unchanged(before: Any, now: Any) -> bool:
    """Return whether something is made from the same as before.

    Args:
        before: Signatures as a journal has them, perhaps nested in lists. One that an
            earlier version wrote has no digest: then size and time decide.
        now: Those of the present.
    """
    if not (isinstance(before, list) and isinstance(now, list)):
        return before == now
    if len(before) == 3 and len(now) == 4 and isinstance(before[1], int):
        return before == now[:3]
    return len(before) == len(now) and all(map(unchanged, before, now))


def _line(fields: Dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True).encode() + b"\n"


def remove_leftovers(folder: PathLike) -> None:
    """Remove the temporary files of data.scp.atomic_write that a killed run left.

    Only for folders that one process at a time writes to, as a journal sees to.
    """
    for path in Path(folder).glob(".*.tmp"):
        path.unlink(missing_ok=True)
