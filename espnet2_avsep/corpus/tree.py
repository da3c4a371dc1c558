"""The media files below a folder, found by category and name."""

import logging
import os
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from espnet2_avsep.corpus.clip import NOT_FOUND, Clip
from espnet2_avsep.data.tables.clip_id import (
    MEDIA_SUFFIXES,
    SOUND_SUFFIXES,
    VIDEO_SUFFIXES,
    plain_name,
)
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.file_name import IMAGE_SUFFIXES, is_image_name

# Files in folders of videos that are no videos, besides images.
_NOT_MEDIA = frozenset((".json", ".txt", ".csv", ".tsv", ".part", ".ytdl", ".tmp"))
_NOT_MEDIA |= {".vtt", ".srt", ".description", ".npy", ".h5", ".hdf5", ".md", ".yaml"}
_Place = Tuple[str, str]  # (category, stem)


class Tree:
    """Sounds, videos and folders of images below a folder.

    A file's category is the name of its folder; names are as :func:`plain_name` makes
    them, so that a list finds files whatever form their accents have. Hidden
    and unfinished files are left out, and so is what lies in a folder of images. In a
    folder videos/, files are videos whatever their ending.

    Args:
        root: The folder; links are followed once.

    Attributes:
        sounds: (category, stem) -> files.
        videos: As above.
        frames: (category, stem) -> folders of images.

    Raises:
        InputError: a folder cannot be read.
    """

    def __init__(self, root: Path):
        self.root = Path(os.path.abspath(root))
        self.sounds: Dict[_Place, List[Path]] = {}
        self.videos: Dict[_Place, List[Path]] = {}
        self.frames: Dict[_Place, List[Path]] = {}
        self._stems: Dict[str, Dict[str, List[Path]]] = {}
        try:
            self._walk(self.root, False, set())
        except OSError as error:
            raise InputError(
                f"{error.filename or self.root}: cannot be read ({error.strerror}); "
                "fix its permissions, or move it out of the corpus' folder."
            ) from error
        for table in (self.sounds, self.videos, self.frames):
            for files in table.values():
                files.sort()

    def _walk(self, folder: Path, in_videos: bool, seen: set) -> None:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back
            return
        seen = seen | {(status.st_dev, status.st_ino)}
        in_videos = in_videos or folder.name == "videos"
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = folder / entry.name
                suffix = path.suffix.lower()
                if entry.is_dir():
                    self._enter(path, in_videos, seen)
                elif suffix in VIDEO_SUFFIXES:
                    self._add(self.videos, path)
                elif suffix in SOUND_SUFFIXES:
                    self._add(self.sounds, path)
                elif in_videos and suffix not in _NOT_MEDIA | IMAGE_SUFFIXES:
                    self._add(self.videos, path)

    def _enter(self, folder: Path, in_videos: bool, seen: set) -> None:
        if _holds_images(folder):
            is_named = folder.suffix.lower() in MEDIA_SUFFIXES  # after its video
            self._add(self.frames, folder, folder.stem if is_named else folder.name)
        else:
            self._walk(folder, in_videos, seen)

    @staticmethod
    def _add(table: Dict[_Place, List[Path]], path: Path, stem: str = "") -> None:
        place = (plain_name(path.parent.name), plain_name(stem or path.stem))
        table.setdefault(place, []).append(path)

    def by_stem(self, kind: str) -> Dict[str, List[Path]]:
        """Return stem -> files of "sounds", "videos" or "frames", in any folder."""
        if kind not in self._stems:
            found: Dict[str, List[Path]] = {}
            for (_, stem), files in getattr(self, kind).items():
                found.setdefault(stem, []).extend(files)
            self._stems[kind] = {stem: sorted(files) for stem, files in found.items()}
        return self._stems[kind]

    def clip(
        self,
        category: str,
        stem: str,
        prefer_video: bool = True,
        anywhere: bool = False,
    ) -> Clip:
        """Return the clip that the files of a name make up.

        Args:
            category: Name of their folder.
            stem: Their name without the ending.
            prefer_video: Whether a video is taken where sound and images lie beside it.
            anywhere: Whether the folder's name does not matter.
        """
        sound, video, frames = (
            _first(
                self.by_stem(kind).get(stem, [])
                if anywhere
                else getattr(self, kind).get((category, stem), [])
            )
            for kind in ("sounds", "videos", "frames")
        )
        if video and (prefer_video or not (sound and frames)):
            sound, frames = (None, None) if prefer_video else (sound, frames)
            return Clip(category, stem, str(sound or video), str(frames or video))
        if sound and frames:
            return Clip(category, stem, str(sound), str(frames))
        problem = NOT_FOUND
        if sound:
            problem = "pictures not found: no folder of images and no video"
        elif frames:
            problem = "sound not found: no audio file and no video"
        return Clip(category, stem, problem=problem)

    def names(self) -> List[Tuple[str, str]]:
        """Return (category, stem) of everything that is there, sorted."""
        return sorted({*self.sounds, *self.videos, *self.frames})


def find_clips(folder: Path, pattern: str = "*/*") -> List[Clip]:
    """Return the videos of a corpus without lists, each as a clip with sound.

    Every container and spelling of its ending counts; hidden files and folders do not.
    A clip's category is the name of its folder. Names are as :func:`plain_name` makes
    them, and the same name in two folders is not the same video. Visible files
    that are no videos, and a second file of a name, are named in the log.

    Args:
        folder: Of the corpus.
        pattern: Where the videos lie below it, for ``Path.glob``.

    Raises:
        InputError: there is none.
    """
    found: Dict[_Place, List[Path]] = {}
    others: List[str] = []
    for path in sorted(folder.glob(pattern)):
        place = (plain_name(path.parent.name), plain_name(path.stem))
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
            found.setdefault(place, []).append(path)
        elif path.is_file():
            others.append(str(path.relative_to(folder)))
    if others:
        logging.warning("%d files are no videos: %s", len(others), shorten(others))
    if not found:
        raise InputError(
            f"{folder}: holds no videos {pattern}; expected endings: "
            f"{' '.join(sorted(VIDEO_SUFFIXES))}."
        )
    clips = []
    for (category, stem), files in found.items():
        path = str(_first(files))
        clips.append(Clip(category, stem, path, path, video=f"{category}/{stem}"))
    return clips


def count_images(folder: Path) -> int:
    """Return the number of images of a folder."""
    with os.scandir(folder) as entries:
        return sum(is_image_name(e.name) and not e.is_dir() for e in entries)


def _holds_images(folder: Path) -> bool:
    """Whether a folder's first visible file is an image; thousands are not looked at.

    A folder of videos may hold their thumbnails, so that a media file decides.
    """
    images = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in MEDIA_SUFFIXES or entry.is_dir():
                return False
            images += is_image_name(entry.name)
            if images == 50:
                break
    return images > 0


def _first(files: List[Path]) -> Optional[Path]:
    for path in files[1:]:
        logging.warning("%s: not used, %s is there", path, files[0])
    return files[0] if files else None
