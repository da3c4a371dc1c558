"""Open what a table or an option names: commands, matrices, arrays and HDF5 files.

The only module that runs a command of a table, calls kaldiio's readers, numpy.load and
h5py (tests/repository/test_dangerous_calls.py). A name never runs anything by itself:
"cmd |" is refused unless the caller read the table with ``allow_pipes``. No content is
unpickled.
"""

import io
import os
import re
import shlex
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import BinaryIO, Dict, List, Tuple

import numpy as np

from espnet2_avsep.data.tables.scp import PathLike, read_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError

# First bytes of what is read from an ark: binary matrices and vectors of floats.
_KALDI_TYPES = (b"FM ", b"DM ", b"FV ", b"DV ", b"CM ", b"CM2 ", b"CM3 ")
# A matrix in text begins with "[".
_TEXT = re.compile(rb"\s*\[")
_RANGE = re.compile(r"(\d*):(\d*)")
# More bytes than this in one array are taken for a damaged header.
MAX_BYTES = 1 << 32


class Command(str):
    """A command that a table has in place of a file, and that may be run."""


def is_command(value: str) -> bool:
    """Return whether Kaldi's programs would run a table's value as a command."""
    value = value.strip()
    return value.startswith("|") or value.endswith("|")


def read_sources(path: PathLike, allow_pipes: bool = False) -> Dict[str, str]:
    """Read a table of sounds; see :func:`~espnet2_avsep.data.tables.scp.read_scp`.

    Args:
        path: The table.
        allow_pipes: Whether its values may be commands ("cmd |").

    Returns:
        Key -> file, or :class:`Command`.

    Raises:
        InputError: a value is a command and these are not allowed.
    """
    table = read_scp(path)
    for key, value in table.items():
        if is_command(value):
            table[key] = Command(value) if allow_pipes else value
            refuse_command(table[key], f"{path}, {key}")
    return table


_ALLOW = (
    "If you wrote this table and trust it, give --allow_pipes true (stages 2 and 3). "
    "If it is a file's name, rename the file."
)


_FILES_ONLY = "Give 'file.ark:offset', as stage 2 writes it, or a file of its own."


def refuse_command(value: str, where: object, hint: str = _ALLOW) -> None:
    """Raise where a value is a command that was not allowed.

    Raises:
        InputError: it is one.
    """
    if is_command(value) and not isinstance(value, Command):
        raise InputError(
            f"{where}: {value!r:.300} is a command, not a file, and is not run. {hint}"
        )


def run_command(command: Command) -> bytes:
    """Run a command of a table, without a shell, and return what it prints.

    Words are split as by a shell, with quotes; programs may be joined by "|". Other
    signs of a shell (; & < > $ and so on) mean nothing: put such lines into a script.

    Raises:
        ClipError: it cannot be run, fails, or prints nothing.
    """
    output = b""
    for words in _programs(command):
        try:
            result = subprocess.run(words, input=output, capture_output=True)
        except (OSError, ValueError) as error:
            raise ClipError(command, f"pipe cannot be run ({error})") from error
        if result.returncode != 0:
            lines = result.stderr.decode(errors="replace").strip().splitlines()
            raise ClipError(
                command,
                f"pipe failed with exit status {result.returncode}"
                + (f": {lines[-1]}" if lines else ""),
                "Run the command by hand to see why.",
            )
        output = result.stdout
    if not output:
        raise ClipError(command, "pipe printed nothing", "Run the command by hand.")
    return output


def _programs(command: Command) -> List[List[str]]:
    """Split a command into the words of each of its programs."""
    lexer = shlex.shlex(
        command.strip().rstrip("|"), posix=True, punctuation_chars="|;&<>()"
    )
    lexer.whitespace_split, lexer.commenters = True, ""
    programs: List[List[str]] = [[]]
    try:
        for word in lexer:
            if word == "|":
                programs.append([])
            elif not set(word) - set("|;&<>()"):
                raise ValueError(f"{word!r} needs a shell; put the line into a script")
            else:
                programs[-1].append(word)
        if not all(programs):
            raise ValueError("a program is missing")
    except ValueError as error:
        raise ClipError(command, f"pipe cannot be read ({error})") from error
    return programs


def parse_ref(ref: str) -> Tuple[str, int, str]:
    """Split a reference to a matrix: (path, offset, range of rows or "").

    Raises:
        InputError: it is a command, or stdin.
    """
    ref = ref.strip()
    refuse_command(ref, "table of matrices", _FILES_ONLY)
    if ref == "-":
        raise InputError(f"table of matrices: '-' is stdin. {_FILES_ONLY}")
    return _split_ref(ref)


def _split_ref(ref: str) -> Tuple[str, int, str]:
    rows = ""
    if ref.endswith("]") and "[" in ref:
        ref, _, rows = ref[:-1].rpartition("[")
    path, colon, tail = ref.rpartition(":")
    if colon and tail.isdecimal():
        return path, int(tail), rows
    return ref, 0, rows


def load_matrix(ref: str) -> np.ndarray:
    """Read a matrix or vector of any kind but packed frames.

    Args:
        ref: ``file.ark:offset``, perhaps with ``[first:last]``; or a file of its own,
            also a .npy.

    Returns:
        The array as it is stored.

    Raises:
        InputError: no such file, or neither a Kaldi matrix nor a .npy of numbers.
    """
    from kaldiio.matio import read_kaldi

    path, offset, rows = parse_ref(ref)
    try:
        with open(path, "rb") as f:
            f.seek(offset)
            head = f.read(16)
            f.seek(offset)
            if head.startswith(b"\x93NUMPY"):
                matrix = _read_npy(f)
            elif head[:2] == b"\0B" and head[2:].startswith(_KALDI_TYPES):
                _check_size(path, f, head)
                matrix = read_kaldi(f)
            elif _TEXT.match(head):
                matrix = read_kaldi(f)
            else:
                found = "a pickle" if head.startswith(b"PKL") else "no Kaldi matrix"
                raise ValueError(f"{found if head else 'nothing'} is there")
        matrix = matrix[_slices(rows)]
    except Exception as error:  # kaldiio raises whatever the damage leads to
        raise unreadable(ref, error) from error
    return matrix


def _slices(rows: str) -> Tuple[slice, ...]:
    """Return the slices of Kaldi's "0:3,1:2", whose ends are included."""
    found = []
    for part in rows.split(",") if rows.strip() else ():
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"the range [{rows}]; expected [first:last]")
        first, last = (int(x) if x else None for x in match.groups())
        found.append(slice(first, None if last is None else last + 1))
    return tuple(found)


def _check_size(path: str, f: BinaryIO, head: bytes) -> None:
    """Raise where a matrix claims to be larger than its file."""
    name = head[2:].split(b" ", 1)[0]
    if name.startswith(b"C"):
        at = f.tell() + 2 + len(name) + 1 + 8  # the least value and the range
        f.seek(at)
        rows, columns = struct.unpack("<ii", f.read(8))
        f.seek(at - 8 - len(name) - 3)
        size = rows * columns
    else:
        rows = struct.unpack("<i", head[6:10])[0]
        columns = struct.unpack("<i", head[11:15])[0] if name.endswith(b"M") else 1
        size = rows * columns * (4 if name.startswith(b"F") else 8)
    if min(rows, columns) < 0 or size > Path(path).stat().st_size:
        raise ValueError(f"({rows}, {columns}) values, more than the file has")


def load_npy(path: PathLike) -> np.ndarray:
    """Read a .npy file; arrays of objects, which are pickles, are refused.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no array of numbers or text.
    """
    with open(path, "rb") as f:
        return _read_npy(f)


def _read_npy(f: BinaryIO) -> np.ndarray:
    head = f.read(6)
    f.seek(-len(head), io.SEEK_CUR)
    if head != b"\x93NUMPY":  # numpy.load takes other files for pickles or archives
        raise ValueError("not a .npy file")
    try:
        return np.load(f, allow_pickle=False)
    except EOFError as error:
        raise ValueError(f"cut off ({error})") from error
    except (MemoryError, OverflowError) as error:
        raise ValueError("its header states more values than memory has") from error


def load_npz(path: PathLike) -> Dict[str, np.ndarray]:
    """Read all arrays of a .npz file; arrays of objects are refused.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or no archive of arrays.
    """
    try:
        with zipfile.ZipFile(path):
            pass  # numpy.load would take other files for pickles
        with np.load(path, allow_pickle=False) as f:
            return {name: f[name] for name in f.files}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: damaged ({error})") from error


def open_h5(path: PathLike):
    """Open an HDF5 file for reading.

    Raises:
        OSError: it is not one.
    """
    import h5py

    return h5py.File(path, "r")


def read_h5(file, name: str) -> np.ndarray:
    """Read a dataset of numbers that lies in the file itself.

    Args:
        file: What :func:`open_h5` returned.
        name: Of the dataset, with the groups before it.

    Raises:
        KeyError: there is no such dataset.
        ValueError: it is not of numbers, or lies in another file.
        OSError: it is damaged.
    """
    import h5py

    place = file
    for part in name.strip("/").split("/"):
        if not isinstance(place, h5py.Group):
            raise KeyError(name)
        link = place.get(part, getlink=True)
        if link is None:
            raise KeyError(name)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is a link; copy the data into the file")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise KeyError(name)
    if place.external or place.is_virtual:
        raise ValueError(f"{name} lies in another file; copy the data into this one")
    if place.dtype.kind not in "fiub" or place.nbytes > MAX_BYTES:
        raise ValueError(f"{name} is {place.dtype} of shape {place.shape}")
    return place[()]


def unreadable(ref: str, error: Exception) -> InputError:
    """Return the error for an entry of a table that cannot be read.

    Args:
        ref: The file, perhaps with an offset and a range; see parse_ref.
        error: What its reader said.
    """
    there = os.path.exists(ref) or os.path.exists(_split_ref(ref)[0])
    detail = str(error) if there else "no such file"
    return InputError(
        f"{ref}: cannot be read ({detail}). Run the stage that writes it again, or "
        "correct the table that names it."
    )
