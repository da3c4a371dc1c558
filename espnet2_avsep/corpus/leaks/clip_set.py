"""The clips of a set, as far as leaks are concerned."""

import re
from pathlib import Path
from typing import Dict, NamedTuple

from espnet2_avsep.data.tables.clip_folder import read_clip_tables
from espnet2_avsep.data.tables.scp import PathLike, read_scp


class ClipSet(NamedTuple):
    """A set and its clips; all maps have the same keys.

    Attributes:
        name: Of the set.
        wav: Clip -> formatted audio file.
        label: Clip -> class.
        video: Clip -> id of the video that it comes from.
    """

    name: str
    wav: Dict[str, str]
    label: Dict[str, str]
    video: Dict[str, str]

    @classmethod
    def read(cls, name: str, data_dir: PathLike, clips_dir: PathLike) -> "ClipSet":
        """Read a set.

        Args:
            name: Of the set.
            data_dir: data/<set>, which may have utt2video or utt2clip; without both
                the part of a clip after its first "-" is its video.
            clips_dir: wav.scp and utt2spk of the clips that are used.

        Raises:
            InputError: a table is missing, or lacks clips.
        """
        data_dir = Path(data_dir)
        wav, label = read_clip_tables(clips_dir, "wav.scp", "utt2spk")
        clip, video = (
            read_scp(data_dir / table) if (data_dir / table).is_file() else {}
            for table in ("utt2clip", "utt2video")
        )
        names = {key: clip.get(key, key.partition("-")[2] or key) for key in wav}
        videos = {key: video.get(key, video_of(names[key])) for key in wav}
        return cls(name, wav, label, videos)


def video_of(clip: str) -> str:
    """Return the video of a clip "category/id"; "id_<start>" is a section of it.

    A section's start has six digits, as in VGGSound, after YouTube's 11 characters.
    """
    name = clip.rpartition("/")[2]
    section = re.fullmatch(r"([\w-]{11})_\d{6}", name, re.ASCII)
    return section[1] if section else name
