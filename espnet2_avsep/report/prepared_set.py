"""What stages 1 to 4 left behind for one set, gathered from their tables."""

import contextlib
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from espnet2_avsep.data.audio.levels import Level, read_levels
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.scp import (
    PathLike,
    Skipped,
    read_scp,
    read_skipped,
)
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError

# Rows of this stage in skipped.tsv are mixtures of a list, not clips.
_LIST_STAGE = "mixture list"


class Mixtures(NamedTuple):
    """The fixed mixtures of a set.

    Attributes:
        counts: What counts.yaml says of them.
        sha256: Of mixtures.tsv as it is now.
        intact: Whether that is also what stage 4 wrote down.
    """

    counts: Dict
    sha256: str
    intact: bool


class PreparedSet(NamedTuple):
    """One set.

    Attributes:
        name: Its name.
        category: Clip -> class, of every clip that stage 1 listed or left out.
        skipped: Clips that were left out, and why; a clip may come more than once.
        videos: Clip -> its video or folder of pictures, of the clips that are kept.
        num_samples: Clip -> its number of samples, of every clip with sound.
        fs: Sampling rate of these in Hz.
        levels: Clip -> its level, of clips that stage 4 looked at.
        visual_info: What made the visual features.
        mixtures: Of a valid or test set.
        not_yet: Files that are not there, each with the stage that writes it.
    """

    name: str
    category: Dict[str, str]
    skipped: List[Skipped]
    videos: Dict[str, str]
    num_samples: Dict[str, int]
    fs: int
    levels: Dict[str, Level]
    visual_info: Dict
    mixtures: Optional[Mixtures]
    not_yet: List[str]

    @property
    def kept(self) -> List[str]:
        """The clips that no stage so far has left out."""
        gone = {row.key for row in self.skipped}
        return [clip for clip in self.category if clip not in gone]

    @property
    def seconds(self) -> Dict[str, float]:
        """Duration in s of the clips that are kept, as far as stage 3 has run."""
        found = self.num_samples
        return {clip: found[clip] / self.fs for clip in self.kept if clip in found}

    @property
    def left_out(self) -> Dict[str, Skipped]:
        """Clip that was left out -> the first row that says so."""
        first: Dict[str, Skipped] = {}
        for row in self.skipped:
            first.setdefault(row.key, row)
        return first


def read_prepared_set(
    name: str, data_dir: PathLike, dump_dir: PathLike, fs: int
) -> PreparedSet:
    """Read the tables of a set; what no stage has written yet is left empty.

    Args:
        name: Its name.
        data_dir: Holds <name>/ of stage 1.
        dump_dir: Holds <name>/ of stages 2 and 4, org/<name>/ of stage 3 and, for a
            set of mixtures, org/<name>_clips/ of stage 4.
        fs: Sampling rate of stage 3 in Hz.

    Raises:
        InputError: stage 1 has not been run, or a table cannot be read.
    """
    data, dump = Path(data_dir) / name, Path(dump_dir) / name
    audio = Path(dump_dir) / "org" / name
    clips = Path(dump_dir) / "org" / f"{name}_clips"
    clips = clips if clips.is_dir() else dump
    if not (data / "utt2spk").is_file():
        raise InputError(
            f"{data / 'utt2spk'}: no such file. Run stage 1, or correct --data_dir and "
            "--sets."
        )
    category = read_scp(data / "utt2spk", allow_empty=True)
    not_yet = []

    def table(path: Path, stage: int) -> Dict[str, str]:
        if path.is_file():
            return read_scp(path, allow_empty=True)
        not_yet.append(f"{path} (stage {stage})")
        return {}

    sources = [
        data / "skipped.tsv",
        dump / "visual_skipped.tsv",
        audio / "skipped.tsv",
    ]
    if (dump / "counts.yaml").is_file():  # stage 4 joins them all
        sources = [dump / "skipped.tsv"]
    sources = [path for path in sources if path.is_file()]
    rows = sorted({row for path in sources for row in read_skipped(path)})
    skipped = [row for row in rows if row.stage != _LIST_STAGE]
    for row in skipped:
        # Clips that stage 1 left out have no class but in their id.
        category.setdefault(row.key, row.key.split("-", 1)[0])
    left_out = {row.key for row in skipped}
    videos = table(data / "video.scp", 1)
    samples = table(audio / "utt2num_samples", 3)
    if not (dump / "visual.scp").is_file():
        not_yet.append(f"{dump / 'visual.scp'} (stage 2)")
    levels: Dict[str, Level] = {}
    if (clips / "levels.tsv").is_file():
        levels = read_levels(clips / "levels.tsv")
    else:
        not_yet.append(f"{clips / 'levels.tsv'} (stage 4)")
    return PreparedSet(
        name=name,
        category=category,
        skipped=skipped,
        videos={k: v for k, v in videos.items() if k not in left_out},
        num_samples={k: int(v) for k, v in samples.items() if k in category},
        fs=fs,
        levels={k: v for k, v in levels.items() if k in category},
        visual_info=read_yaml(dump / "visual_info.yaml"),
        mixtures=_read_mixtures(dump),
        not_yet=not_yet,
    )


def reason_kind(reason: str) -> str:
    """Return what kind of reason it is, without the details of the one clip.

    Details stand behind ": " or in brackets, or are numbers (shown as #).
    """
    kind = re.split(r": | \(", reason, maxsplit=1)[0]
    return re.sub(r"\b\d+(\.\d+)?\b", "#", kind)


def _read_mixtures(dump: Path) -> Optional[Mixtures]:
    path = dump / "mixtures.tsv"
    counts = read_yaml(dump / "counts.yaml").get("mixtures")
    if counts is None or not path.is_file():
        return None
    digest = file_sha256(path)
    noted = ""
    with contextlib.suppress(OSError, IndexError):
        noted = (dump / "mixtures.sha256").read_text(encoding="utf-8").split()[0]
    return Mixtures(counts, digest, digest == noted == counts.get("sha256"))
