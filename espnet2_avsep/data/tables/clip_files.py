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
    have other words for some categories, and Co-Separation has no folders.

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
            name = nfc(path.relative_to(self.folder).as_posix())
            self._paths[name] = path
            self._called.setdefault(nfc(path.name), []).append(name)
        if not self._paths:
            raise InputError(
                f"{option} {folder}: holds no {' or '.join(self.endings)} file; "
                "expected are <category>/<video> with that ending."
            )

    def _walk(self) -> Iterator[Path]:
        for ending in self.endings:
            yield from self.folder.glob(f"*{ending}")
            yield from self.folder.glob(f"*/*{ending}")

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
