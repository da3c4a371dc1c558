"""Unpack an archive that somebody else has made, without trusting it."""

import errno
import os
import shutil
import stat
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Iterable, List, Tuple

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError

# Of all files of an archive together. The largest system has 33 M weights: 0.13 GB, or
# twice that where they are stored in two formats.
MAX_BYTES = 4 << 30
MAX_FILES = 200
_CHUNK = 1 << 20

# Endings of files of weights, which are read without running what a pickle asks for
# (weights.py).
WEIGHTS = (".pth", ".pt", ".safetensors")
# What a packed model may hold: texts, tables, pictures and weights.
SUFFIXES = {".yaml", ".yml", ".json", ".md", ".txt", ".tsv", ".csv", ".png", *WEIGHTS}

# Other methods decompress without a limit on what comes out of a piece.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _RefusedError(Exception):
    """What is wrong with an archive, in words."""


def unpack(archive: PathLike, folder: PathLike, max_bytes: int = MAX_BYTES) -> None:
    """Unpack a zip archive into a folder that appears only when all is there.

    Refused, before anything is written: names that are absolute, hold "..", a
    backslash, a drive or control characters; links and devices; names that come twice,
    also where only capital letters tell them apart; files other than those of a packed
    model (pickles, programs); encrypted files; more than MAX_FILES files, more than
    max_bytes in all. While it is written: a file that is longer, shorter or another one
    than its entry says.

    Args:
        archive: The zip file.
        folder: Where its files go. If it is there already, it is left as it is.
        max_bytes: Upper limit of what is written.

    Raises:
        InputError: the archive is refused, damaged, or none; nothing is left behind.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with zipfile.ZipFile(archive) as z:
            for name, info in _check(z.infolist(), max_bytes):
                _write(z, info, temporary / name)
        os.chmod(temporary, 0o755)
        try:
            os.rename(temporary, folder)
        except OSError:  # somebody else was faster
            if not folder.is_dir():
                raise
    except _RefusedError as error:
        raise InputError(
            f"{archive}: is refused: {error}. No file of it was kept; take a model "
            "from another source, or pack it again (stage 9)."
        ) from None
    except (
        *(zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError),
        *(NotImplementedError, RuntimeError, zlib.error, struct.error, OSError),
    ) as error:
        # Offsets before the file's beginning are an OSError; so is a full disk.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise InputError(
            f"{archive}: cannot be read as a packed model ({error}). Expected the zip "
            "file that stage 9 writes; fetch it again if it was cut off."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(
    entries: Iterable[zipfile.ZipInfo], max_bytes: int
) -> List[Tuple[str, zipfile.ZipInfo]]:
    """Return name and entry of every file, or refuse the archive."""
    files: List[Tuple[str, zipfile.ZipInfo]] = []
    seen, folders, total = set(), set(), 0
    for info in entries:
        name = _checked_name(info)
        key = unicodedata.normalize("NFC", name).casefold()
        if info.is_dir():
            folders.add(key)
            continue
        if key in seen:
            raise _RefusedError(f"the name {name!r} comes twice")
        seen.add(key)
        folders |= {str(parent) for parent in PurePosixPath(key).parents}
        if info.flag_bits & 1:
            raise _RefusedError(f"{name!r} is encrypted")
        if info.compress_type not in _METHODS:
            raise _RefusedError(f"{name!r} is compressed by an unusual method")
        if PurePosixPath(name).suffix.lower() not in SUFFIXES:
            raise _RefusedError(f"{name!r} is no file of a packed model")
        total += info.file_size
        files.append((name, info))
        if total > max_bytes:
            raise _RefusedError(f"it holds more than {max_bytes} bytes, uncompressed")
        if len(files) > MAX_FILES:
            raise _RefusedError(f"it holds more than {MAX_FILES} files")
    both = seen & folders
    if both:
        raise _RefusedError(f"{min(both)!r} is a file and a folder")
    return files


def _checked_name(info: zipfile.ZipInfo) -> str:
    """Return an entry's name as a path within a folder, or refuse the archive."""
    # Of "a\0b" zipfile keeps "a" as the name; the original tells.
    name = info.orig_filename
    shown = repr(name[:100])
    if any(unicodedata.category(c).startswith("C") for c in name) or "\\" in name:
        raise _RefusedError(f"the name {shown} has control characters or '\\'")
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or ":" in parts[0]:
        raise _RefusedError(f"the name {shown} is absolute")
    if not set(parts).isdisjoint(("", ".", "..")) or len(name) > 200:
        raise _RefusedError(f"the name {shown} is no plain path within the archive")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise _RefusedError(f"{shown} is a link or a device, not a file")
    return name.rstrip("/")


def _write(z: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with z.open(info) as source, path.open("xb") as target:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > info.file_size:
                raise _RefusedError(f"{info.filename!r} is longer than it says")
            target.write(chunk)
    if size != info.file_size:
        raise EOFError(f"{info.filename} ends after {size} of {info.file_size} bytes")
