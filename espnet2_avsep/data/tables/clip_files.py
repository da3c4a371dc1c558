"""Files beside the corpus, one a clip, found by other implementations' names."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from espnet2_avsep.data.records.journal import signature
from espnet2_avsep.data.tables.clip_id import MEDIA_SUFFIXES, category_key, nfc
from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError


class ClipFiles:
    """Finds the file of a clip in a folder.

    What is looked for is <category>/<video><ending>, also with the video's own ending
    (flute/kbTy_5o6AB4.mp4.npy, as iQuery names features and boxes) and with "_" for
    white space and signs in the category. Where that is not there, a file called
    <video><ending> will do wherever it lies in the folder, if there is only one: others
    have other words for some categories, and Co-Separation has no folders. Endings may
    be in capitals.

    Args:
        folder: Where the files are, or folders of them.
        endings: Of the files, e.g. (".npy",).
        option: What names the folder on the command line, for messages.
        utt2clip: Clip -> category/video; None: the id <category>-<video> tells.

    Raises:
        InputError: there is no such folder, or no file of these endings in it.
    """

    def __init__(
        self,
        folder: PathLike,
        endings: Sequence[str],
        option: str,
        utt2clip: Optional[Mapping[str, str]] = None,
    ):
        self.folder = Path(folder)
        self.endings = tuple(endings)
        self.utt2clip = utt2clip or {}
        if not self.folder.is_dir():
            raise InputError(
                f"{option} {folder}: no such folder; a folder of <category>/<video>"
                f"{' or '.join(self.endings)} was expected."
            )
        self._paths: Dict[str, Path] = {}
        self._called: Dict[str, List[str]] = {}
        for path in self._walk():
            as_it_is = nfc(path.relative_to(self.folder).as_posix())
            name = _small_endings(as_it_is)
            if name in self._paths and name != as_it_is:
                continue  # beside cello/a.npy, cello/a.NPY is not looked at
            self._paths[name] = path
            called = self._called.setdefault(name.rpartition("/")[2], [])
            called += [] if name in called else [name]
        if not self._paths:
            raise InputError(
                f"{option} {folder}: holds no {' or '.join(self.endings)} file; "
                "expected are <category>/<video> with that ending."
            )

    def _walk(self) -> Iterator[Path]:
        for pattern in ("*", "*/*"):
            for path in sorted(self.folder.glob(pattern)):
                if path.suffix.lower() in self.endings:
                    yield path

    def names(self, key: str) -> List[str]:
        """Return the names with a category that are looked for, first to last."""
        category, _, _ = self._clip(key).rpartition("/")
        return [
            f"{folder}/{name}"
            for folder in dict.fromkeys((category, category_key(category)))
            for name in self._file_names(key)
        ]

    def find(self, key: str) -> Optional[Path]:
        """Return the file of a clip; None: there is none."""
        for name in self.names(key):
            if name in self._paths:
                return self._paths[name]
        for name in self._file_names(key):
            if len(self._called.get(name, ())) == 1:
                return self._paths[self._called[name][0]]
        return None

    def source(self, key: str) -> Any:
        """Return what tells whether the file of a clip is still the same."""
        path = self.find(key)
        return signature(str(path)) if path is not None else "no file"

    def _clip(self, key: str) -> str:
        return nfc(self.utt2clip.get(key) or key.replace("-", "/", 1))

    def _file_names(self, key: str) -> List[str]:
        _, _, video = self._clip(key).rpartition("/")
        stems = [video, *(video + suffix for suffix in sorted(MEDIA_SUFFIXES))]
        return [stem + ending for stem in stems for ending in self.endings]


def _small_endings(name: str) -> str:
    """Return a file's name with its ending, and a video's before it, in small letters.

    Example:
        >>> _small_endings("cello/A.MP4.NPY")
        'cello/A.mp4.npy'
    """
    stem, dot, ending = name.rpartition(".")
    video, video_dot, video_ending = stem.rpartition(".")
    if f".{video_ending.lower()}" in MEDIA_SUFFIXES:
        stem = f"{video}{video_dot}{video_ending.lower()}"
    return f"{stem}{dot}{ending.lower()}"
