"""What the files of a table hold, as digests that cost a ``stat`` to look up.

Beside each table ``<name>.scp`` that stages 2 to 4 and 7 write lies ``<name>.content``,
with one line for each key::

    key digest bytes source

``digest`` is BLAKE2b-128 of the file, or of the key's record in an ark; ``bytes`` is
the number of bytes that it covers; ``source`` is JSON: what the content was made from.

The digest of a file that has not changed since the ``.content`` table was written is
taken from there (times of modification and of change of the inode, which ``cp -p`` and
``mv`` do not preserve). Any other file is hashed again, so a digest never describes an
earlier content. Digests do not depend on paths or times: two runs give the same table.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)

from espnet2_avsep.data.tables.scp import PathLike, atomic_write, read_scp
from espnet2_avsep.errors import InputError

_ARK_REFERENCE = re.compile(r"(.+):([0-9]+)(\[.*\])?")
_BLOCK = 1 << 20
MISSING = "missing"
# Of a file that no table describes, so much is read at each end.
_END = 4096


class Content(NamedTuple):
    """A line of a ``.content`` table.

    Attributes:
        digest: Of the content.
        bytes: How many bytes it covers.
        source: What it was made from; None: not known.
    """

    digest: str
    bytes: int
    source: Any = None


def content_path(scp: PathLike) -> Path:
    """Return where the content of a table is described."""
    return Path(scp).with_suffix(".content")


def read_content(scp: PathLike) -> Dict[str, Content]:
    """Read what is known of a table's content; a missing file means nothing.

    Raises:
        InputError: a line is not one of such a table.
    """
    path = content_path(scp)
    if not path.is_file():
        return {}
    rows = {}
    for key, value in read_scp(path, allow_empty=True).items():
        try:
            digest, length, source = value.split(" ", 2)
            rows[key] = Content(digest, int(length), json.loads(source))
        except (ValueError, TypeError):
            raise InputError(
                f"{path}: the line of {key} is {value!r}; expected 'digest bytes "
                "source'. Delete the file: it is then computed again."
            ) from None
    return rows


def write_content(scp: PathLike, rows: Mapping[str, Content]) -> None:
    """Write the ``.content`` table of a table."""
    with atomic_write(content_path(scp)) as f:
        for key in sorted(rows, key=str.encode):
            row = rows[key]
            source = json.dumps(row.source, sort_keys=True)
            f.write(f"{key} {row.digest} {row.bytes} {source}\n")


def current_content(
    scp: PathLike, keys: Optional[Iterable[str]] = None
) -> Dict[str, Content]:
    """Return what the files of a table hold now.

    A key without a line in the ``.content`` table (a table that was not made by these
    stages) gets a digest of its file's size, time and ends.

    Args:
        scp: The table.
        keys: The keys wanted; None: all.

    Raises:
        InputError: the table is missing.
    """
    return content_of(read_scp(scp, allow_empty=True), scp, keys)


def content_of(
    table: Mapping[str, str],
    scp: PathLike,
    keys: Optional[Iterable[str]] = None,
    whole: bool = False,
) -> Dict[str, Content]:
    """Return what the files of a table hold now; see :func:`current_content`.

    Args:
        table: key -> file or ark:offset.
        scp: The table on the disk, whose ``.content`` is used.
        keys: The keys wanted; None: all.
        whole: Whether a file without a line is hashed as a whole.

    Returns:
        key -> its content; the digest of a file that is not there is MISSING.
    """
    known = read_content(scp)
    written = written_at(content_path(scp))
    rows = {}
    states: Dict[str, Optional[os.stat_result]] = {}
    for key in table if keys is None else keys:
        path, offset = split_reference(table[key])
        if path not in states:
            states[path] = _state(path)
        state, row = states[path], known.get(key)
        if state is None:
            rows[key] = Content(MISSING, 0)
            continue
        fits = row is not None and (offset is not None or row.bytes == state.st_size)
        if fits and is_older(state, written):
            rows[key] = row
        elif row is not None or (offset is None and whole):
            length = row.bytes if offset is not None else state.st_size
            digest = digest_bytes(path, offset or 0, length)
            rows[key] = Content(digest, length, None if row is None else row.source)
        else:
            ends = [state.st_size, state.st_mtime_ns, ends_digest(path)]
            place = table[key].removeprefix(path)  # ":offset[rows]"
            rows[key] = Content(hash_bytes(f"{ends} {place}".encode()), 0)
    return rows


def changed_keys(scp: PathLike, table: Optional[Mapping[str, str]] = None) -> List[str]:
    """Return the keys whose files are no longer what the ``.content`` table says.

    Args:
        scp: The table; keys that its ``.content`` table does not have are left out.
        table: key -> file; None: as the table has it.
    """
    known = read_content(scp)
    table = read_scp(scp, allow_empty=True) if table is None else table
    now = content_of(table, scp, [key for key in table if key in known])
    return [key for key, row in now.items() if row.digest != known[key].digest]


def written_at(path: PathLike) -> Tuple[int, int]:
    """Return the times until which a file may describe others; (0, 0): it is not there.

    Returns:
        When it was modified, and when its inode changed at last (ns).
    """
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_mtime_ns, max(state.st_mtime_ns, state.st_ctime_ns)


def is_older(state: os.stat_result, written: Tuple[int, int]) -> bool:
    """Return whether a file has certainly not changed since another one was written.

    Before Linux 6.13, clocks of file systems tick every 1 to 10 ms: what changes after
    the other one was written may have the same time.

    Args:
        state: Of the file.
        written: What :func:`written_at` returned for the other one.
    """
    return state.st_mtime_ns < written[0] and state.st_ctime_ns < written[1]


def copy_content(source: PathLike, target: PathLike, keys: Iterable[str]) -> None:
    """Describe a table whose values are some of another's.

    Where nothing is known of the other one, nothing is written.
    """
    if not content_path(source).is_file():
        content_path(target).unlink(missing_ok=True)
        return
    write_content(target, content_of(read_scp(source), source, keys))


def table_digest(scp: PathLike, keys: Optional[Iterable[str]] = None) -> str:
    """Return one digest of the keys of a table and what their files hold."""
    return digest_of(current_content(scp, keys))


def digest_of(rows: Mapping[str, Content]) -> str:
    """Return one digest of the keys of rows and the digests of their files."""
    lines = (f"{key} {rows[key].digest}\n" for key in sorted(rows, key=str.encode))
    return hash_bytes("".join(lines).encode())


def file_digest(path: PathLike) -> str:
    """Return the digest of a whole file."""
    return digest_bytes(path, 0, os.stat(path).st_size)


def hash_bytes(content: Union[bytes, memoryview]) -> str:
    """Return the digest of bytes in memory."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_bytes(path: PathLike, start: int, length: int) -> str:
    """Return the digest of some bytes of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as f:
        f.seek(start)
        while length > 0:
            block = f.read(min(length, _BLOCK))
            if not block:
                break
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()


def ends_digest(path: PathLike) -> str:
    """Return a digest of the first and the last 4 KiB of a file.

    Of a folder, of the names, sizes and times of what is in it.
    """
    digest = hashlib.blake2b(digest_size=8)
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            found: List[Tuple[str, int, int]] = []
            for entry in entries:
                try:
                    state = entry.stat()
                except OSError:  # a link to nothing: the link itself
                    state = entry.stat(follow_symlinks=False)
                found.append((entry.name, state.st_size, state.st_mtime_ns))
        digest.update(repr(sorted(found)).encode())
        return digest.hexdigest()
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        digest.update(os.pread(handle, _END, 0))
        digest.update(os.pread(handle, _END, max(size - _END, 0)))
    finally:
        os.close(handle)
    return digest.hexdigest()


def _state(path: str) -> Optional[os.stat_result]:
    try:
        return os.stat(path)
    except OSError:
        return None


def split_reference(value: str) -> Tuple[str, Optional[int]]:
    """Split "ark:offset" into its parts; the offset of a plain file is None."""
    found = _ARK_REFERENCE.fullmatch(value)
    if found is None or os.path.exists(value):
        return value, None
    return found[1], int(found[2])
