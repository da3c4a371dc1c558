"""Ids of clips, and the clips that names in other people's lists mean."""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Dict, List, Mapping, Optional

from espnet2_avsep.errors import InputError

SOUND_SUFFIXES = frozenset(
    (".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".wma")
)
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv", ".m4v", ".mpg", ".mpeg")
) | {".3gp", ".ts", ".wmv"}
MEDIA_SUFFIXES = SOUND_SUFFIXES | VIDEO_SUFFIXES
# A clip cut from a video is called <video id>_<start in s, six digits>, as in VGGSound.
_START = re.compile(r"_[0-9]{6}")
# What ids are made of besides letters, digits and combining marks; the same as in
# utils/data_dir.py.
_SIGNS = frozenset("_+=@%,.^-")
# A file system has room for names of 255 bytes; endings and ".tmp" come on top.
_FILE_STEM_BYTES = 200


def nfc(name: str) -> str:
    """Return a name in Unicode's normal form NFC, which all ids have.

    macOS hands out file names in NFD ("e" and a combining accent), lists have NFC.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_printable(name: str) -> bool:
    """Return whether a name has no control characters, line ends or broken UTF-8."""
    return name.isprintable() or not any(
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name
    )


def id_problem(name: object) -> str:
    """Return why something cannot be an id, or a part of a path; "" where it can.

    For ids of clips and videos, names of categories and sets: whatever comes from a
    list or table and becomes a key, or a folder's or file's name.
    """
    if not isinstance(name, str):
        return f"is of type {type(name).__name__}, not text"
    if not name.strip():
        return "is empty"
    if not is_printable(name):
        return "has control characters, line ends or bytes that are not UTF-8"
    if "/" in name:
        return "has a '/'"
    if name.startswith("."):
        return "begins with '.'"
    return ""


def check_id(where: object, name: object) -> str:
    """Return an id in NFC.

    Args:
        where: The file and line that the id comes from, for the message.
        name: The id; see :func:`id_problem`.

    Raises:
        InputError: it cannot be one.
    """
    problem = id_problem(name)
    if problem:
        raise InputError(
            f"{where}: the id {name!r:.100} {problem}; expected letters, digits and "
            "signs without '/'. Correct it there."
        )
    return nfc(name)


def plain_name(name: str) -> str:
    """Return a file's name as lists write it: NFC, "_" for what no list can hold."""
    name = nfc(name).strip()
    if not is_printable(name):
        name = "".join(c if is_printable(c) else "_" for c in name)
    return name or "_"


def file_stem(key: str) -> str:
    """Return the name, without its ending, of the file that belongs to an id.

    It is the id; of one that is too long for a file system, its beginning and the first
    16 digits of its SHA-256.
    """
    content = key.encode()
    if len(content) <= _FILE_STEM_BYTES:
        return key
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{content[: _FILE_STEM_BYTES - 17].decode(errors='ignore')}-{digest}"


def category_key(category: str) -> str:
    """Return a category as it stands in tables: letters, digits and "_" only."""
    return re.sub(r"\W+", "_", nfc(category)).strip("_") or "_"


def stem_key(stem: str) -> str:
    """Return a file's stem as ids have it: "_" for blanks and what shells act on."""
    kept = "".join(
        c if c.isalnum() or c in _SIGNS or unicodedata.category(c)[0] == "M" else " "
        for c in nfc(stem)
    )
    return "_".join(kept.split()) or "_"


def clip_key(category: str, stem: str) -> str:
    """Return the id of a clip: "<category>-<name of its file without the ending>"."""
    return f"{category_key(category)}-{stem_key(stem)}"


def split_name(name: str) -> List[str]:
    """Split "any/folder/category/video.wav" into its parts; no ending of media."""
    path = PurePosixPath(nfc(name.strip()))
    if path.suffix.lower() in MEDIA_SUFFIXES:
        path = path.with_suffix("")
    return [part for part in path.parts if part not in ("/", ".")]


class ClipFinder:
    """Finds a clip by its id, by its file's name, or by its video id alone.

    Args:
        keys: Id of a clip -> its category.
    """

    def __init__(self, keys: Mapping[str, str]):
        self.keys = keys
        self.categories = {category_key(category) for category in keys.values()}
        self.of_stem: Dict[str, List[str]] = {}
        for key in keys:
            stem = stem_key(key.split("-", 1)[-1])
            self.of_stem.setdefault(stem, []).append(key)
            if _START.fullmatch(stem[-7:]) and len(stem) > 7:
                self.of_stem.setdefault(stem[:-7], []).append(key)

    def find(self, where: str, name: str) -> Optional[str]:
        """Return the clip; None: it is not there.

        A category that no clip has does not count: other implementations
        have other words for some.

        Args:
            where: What the name comes from, for the message.
            name: "category-video", "category/video.wav" with any folders before it, or
                "video".

        Raises:
            InputError: several clips answer to a name without a category.
        """
        name = nfc(name)
        if name in self.keys:
            return name
        parts = split_name(name)
        if not parts:
            return None
        if len(parts) > 1:
            key = clip_key(parts[-2], parts[-1])
            if key in self.keys:
                return key
            begin = f"{category_key(parts[-2])}-"
            found = [k for k in self.find_all(parts[-1]) if k.startswith(begin)]
            if found or category_key(parts[-2]) in self.categories:
                return found[0] if len(found) == 1 else None
        if parts[-1] in self.keys:
            return parts[-1]
        found = self.find_all(parts[-1])
        if len(parts) > 1 and len(found) > 1:  # "Male" of "Male_speech_man_speaking"
            begin = f"{category_key(parts[-2])}_"
            found = [key for key in found if key.startswith(begin)]
        if len(parts) == 1 and len(found) > 1:
            raise InputError(
                f"{where}: {name!r} may be {' or '.join(sorted(found))}; write the id."
            )
        return found[0] if len(found) == 1 else None

    def find_all(self, stem: str) -> List[str]:
        """Return all clips with this file name, or cut from this video."""
        return self.of_stem.get(stem_key(stem), [])
