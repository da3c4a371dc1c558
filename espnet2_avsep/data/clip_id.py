"""Ids of clips, and the clips that names in other people's lists stand for."""

import re
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


def category_key(category: str) -> str:
    """Return a category as it stands in tables: letters, digits and "_" only."""
    return re.sub(r"\W+", "_", category).strip("_") or "_"


def clip_key(category: str, stem: str) -> str:
    """Return the id of a clip: "<category>-<name of its file without the ending>"."""
    return f"{category_key(category)}-{'_'.join(stem.split())}"


def split_name(name: str) -> List[str]:
    """Split "any/folder/category/video.wav" into its parts; no ending of media."""
    path = PurePosixPath(name.strip())
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
            stem = key.split("-", 1)[-1]
            self.of_stem.setdefault(stem, []).append(key)
            if _START.fullmatch(stem[-7:]) and len(stem) > 7:
                self.of_stem.setdefault(stem[:-7], []).append(key)

    def find(self, where: str, name: str) -> Optional[str]:
        """Return the clip; None: it is not there.

        A category that no clip has does not count: peers have other words for some.

        Args:
            where: What the name comes from, for the message.
            name: "category-video", "category/video.wav" with any folders before it, or
                "video".

        Raises:
            InputError: several clips answer to a name without a category.
        """
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
        return self.of_stem.get("_".join(stem.split()), [])
