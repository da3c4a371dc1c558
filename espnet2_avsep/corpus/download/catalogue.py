"""What each corpus lists: its files of metadata, and the videos that they name."""

import contextlib
import re
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from espnet2_avsep.corpus.lists import read_list, read_text
from espnet2_avsep.corpus.music import read_video_json
from espnet2_avsep.corpus.vggsound import read_rows
from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.data.tables.table_entry import open_h5, read_h5
from espnet2_avsep.errors import InputError

MUSIC_URL = "https://raw.githubusercontent.com/roudimit/MUSIC_dataset/master/"
VGGSOUND_URL = "https://raw.githubusercontent.com/hche11/VGGSound/master/data/"
AVE_URL = "https://raw.githubusercontent.com/YapengTian/AVE-ECCV18/master/data/"
AUDIOSET_URL = "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/"
# Seconds of a clip of VGGSound and of AVE (AudioSet's segments).
SECTION = 10.0


class Video(NamedTuple):
    """A listed video.

    Attributes:
        key: Its file below videos/ without the ending; the manifest's id.
        video_id: YouTube's id.
        categories: Its classes.
        start: Where its section begins in the video in s; None: the whole video, or
            (see ``sections``) not known.
    """

    key: str
    video_id: str
    categories: Tuple[str, ...]
    start: Optional[float] = None


class Corpus(NamedTuple):
    """How a corpus is listed.

    Attributes:
        files: Its files of metadata -> where they are published.
        sections: Whether sections of ``SECTION`` seconds are kept, not whole videos.
        read: Reads the videos from the folder of the files.
        archive: Where the videos themselves are published, if anywhere, in words.
    """

    files: Dict[str, str]
    sections: bool
    read: Callable[[Path], List[Video]]
    archive: str = ""


@contextlib.contextmanager
def _published() -> Iterator[None]:
    """Add what to do about a file that has another form than the published one."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{error} It is not the published file: remove it to have it fetched "
            "again, or give --metadata_dir the folder of the right one."
        ) from error


@_published()
def read_music(folder: Path, *names: str) -> List[Video]:
    """Read lists of the form {"videos": {category: [id, ...]}}."""
    videos = {}
    for path in (folder / name for name in names):
        for category, ids in read_video_json(path).items():
            for video_id in ids:
                _check_id(path, video_id)
                key = f"{category}/{video_id}"
                videos[key] = Video(key, video_id, (category,))
    return list(videos.values())


@_published()
def read_vggsound(folder: Path) -> List[Video]:
    """Read vggsound.csv."""
    path = folder / "vggsound.csv"
    videos = {}
    for row in read_rows(path):
        _check_id(path, row.video)
        key = row.stem
        videos[key] = Video(key, row.video, (row.label,), float(row.start))
    return list(videos.values())


@_published()
def read_ave(folder: Path) -> List[Video]:
    """Read Annotations.txt; the clips' starts come from AudioSet's lists.

    A video of several events has several rows and is one clip.
    """
    path = folder / "Annotations.txt"
    categories: Dict[str, Dict[str, None]] = {}
    for row in read_list(path, ave=True):
        _check_id(path, row.stem)
        categories.setdefault(row.stem, {})[row.category] = None
    starts = _audioset_starts(folder, categories)
    return [
        Video(video_id, video_id, tuple(names), starts.get(video_id))
        for video_id, names in categories.items()
    ]


@_published()
def write_ave_splits(folder: PathLike) -> None:
    """Write trainSet.txt, valSet.txt and testSet.txt where they are missing.

    The archive of the videos holds them; the repository of the code holds their order,
    the numbers of Annotations.txt's rows. Both say the same.

    Raises:
        InputError: a number is no row's.
    """
    folder = Path(folder)
    lines = [
        line
        for line in read_text(folder / "Annotations.txt").splitlines()
        if line.strip() and not line.startswith("Category&")
    ]
    for name in ("train", "val", "test"):
        path = folder / f"{name}Set.txt"
        order = folder / f"{name}_order.h5"
        if path.exists() or not order.exists():
            continue
        try:
            with open_h5(order) as f:
                numbers = [int(number) for number in read_h5(f, "order").ravel()]
        except (OSError, KeyError, ValueError) as error:
            raise _wrong_form(order, str(error), "HDF5 with a list 'order'") from error
        if numbers and not 0 <= min(numbers) <= max(numbers) < len(lines):
            raise _wrong_form(
                order, f"row {max(numbers)}", f"rows of Annotations.txt, 0-{len(lines)}"
            )
        write_file(path, "".join(lines[number] + "\n" for number in numbers))


def _audioset_starts(folder: Path, wanted: Dict[str, Dict]) -> Dict[str, float]:
    """Find where the segments of videos begin; rows id, start, end, "labels"."""
    starts: Dict[str, float] = {}
    for name in AUDIOSET_FILES:
        path = folder / name
        if not path.exists():
            continue
        with path.open(encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.startswith("#") or not line.strip():
                    continue
                fields = [field.strip() for field in line.split(",", 3)]
                if fields[0] not in wanted:
                    continue
                try:
                    starts[fields[0]] = float(fields[1])
                except (IndexError, ValueError) as error:
                    raise _wrong_form(
                        path, f"line {number}: {line!r}", 'id, start, end, "labels"'
                    ) from error
    return starts


def _check_id(path: Path, video_id: str) -> None:
    if not re.fullmatch(r"[\w-]{11}", video_id, re.A):
        raise _wrong_form(path, f"id {video_id!r}", "YouTube's ids of 11 characters")


def _wrong_form(path: Path, found: str, expected: str) -> InputError:
    return InputError(f"{path}: {found}; expected {expected}.")


AUDIOSET_FILES = (
    "balanced_train_segments.csv",
    "unbalanced_train_segments.csv",
    "eval_segments.csv",
)
CORPORA: Dict[str, Corpus] = {
    "music": Corpus(
        {
            name: MUSIC_URL + name
            for name in ("MUSIC_solo_videos.json", "MUSIC_duet_videos.json")
        },
        False,
        lambda folder: read_music(
            folder, "MUSIC_solo_videos.json", "MUSIC_duet_videos.json"
        ),
    ),
    "music21": Corpus(
        {"MUSIC21_solo_videos.json": MUSIC_URL + "MUSIC21_solo_videos.json"},
        False,
        lambda folder: read_music(folder, "MUSIC21_solo_videos.json"),
    ),
    "vggsound": Corpus(
        {"vggsound.csv": VGGSOUND_URL + "vggsound.csv"},
        True,
        read_vggsound,
        "archives of all clips: https://huggingface.co/datasets/Loie/VGGSound (a copy "
        "by others, 20 files vggsound_<nn>.tar.gz)",
    ),
    "ave": Corpus(
        {
            "Annotations.txt": AVE_URL + "Annotations.txt",
            **{
                f"{name}_order.h5": f"{AVE_URL}{name}_order.h5"
                for name in ("train", "val", "test")
            },
            **{name: AUDIOSET_URL + name for name in AUDIOSET_FILES},
        },
        True,
        read_ave,
        "the authors' archive: "
        "https://drive.google.com/open?id=1FjKwe79e0u96vdjIVwfRQ1V6SoDHe7kK "
        "(AVE_Dataset.zip; fetched in a browser)",
    ),
}
