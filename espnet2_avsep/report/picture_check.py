"""A few pictures of some videos: is anything to be seen, and does it move?

The pictures themselves are looked at, not their embeddings: no encoder's taste comes in
between, black is told from frozen, and what was judged can be shown.
"""

import hashlib
import itertools
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

import numpy as np

from espnet2_avsep.data.records.journal import Journal, remove_leftovers, signature
from espnet2_avsep.data.records.made_from import VERSIONS
from espnet2_avsep.data.records.progress import Progress
from espnet2_avsep.data.tables.clip_id import file_stem
from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.errors import clear_disk_errors
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.picture import read_image
from espnet2_avsep.media.stream import measure, probe
from espnet2_avsep.report.render import jpeg
from espnet2_avsep.visual.frames import (
    Resize,
    list_images,
    sample_times,
    video_frames,
)

THUMBNAIL = Resize((90, 160), "longest", "bilinear")
# In steps of 8 bits: below it all pictures are black, of one colour, the same one.
BLACK_LUMA = 10.0
FLAT_SPREAD = 3.0
FROZEN_CHANGE = 4.0
OK = "ok"
_LUMA = np.array([0.299, 0.587, 0.114])
_QUALITY = 75
# Side of a block in pixels: small enough to catch a hand that moves before a camera
# that does not, large enough to average a codec's noise away.
_BLOCK = 10


class Look(NamedTuple):
    """What a few pictures of a video show; sizes are in steps of 8 bits.

    Attributes:
        luma: Mean brightness of the brightest picture.
        spread: Greatest standard deviation of brightness within a picture.
        change: Greatest difference to the first picture in the mean brightness of a
            block of 10 x 10 pixels.
        count: Number of pictures.
        error: Why there are none, or "".
    """

    luma: float = 0.0
    spread: float = 0.0
    change: float = 0.0
    count: int = 0
    error: str = ""

    @property
    def verdict(self) -> str:
        """Either "ok", "black", "one colour", "frozen" or "unreadable"."""
        if self.error:
            return "unreadable"
        if self.luma < BLACK_LUMA:
            return "black"
        if self.spread < FLAT_SPREAD:
            return "one colour"
        if self.count > 1 and self.change < FROZEN_CHANGE:
            return "frozen"
        return OK


class Video(NamedTuple):
    """A video to be looked at.

    Attributes:
        dset: Name of its set.
        clip: Id of the clip.
        path: The video, or a folder of pictures.
        seconds: Duration of the clip; None: the video's own.
    """

    dset: str
    clip: str
    path: str
    seconds: Optional[float] = None

    @property
    def thumbnail(self) -> str:
        """Name of its file, within the folder of thumbnails."""
        return f"{self.dset}/{file_stem(self.clip)}.jpg"


def choose_clips(category: Mapping[str, str], most: int) -> List[str]:
    """Choose clips of as many classes as can be, the same ones each time.

    Args:
        category: Clip -> class.
        most: How many to choose.

    Returns:
        The clips, sorted.
    """
    members: Dict[str, List[str]] = {}
    for clip in sorted(category, key=_shuffled):
        members.setdefault(category[clip], []).append(clip)
    classes = sorted(members, key=_shuffled)
    rounds = itertools.zip_longest(*(members[name] for name in classes))
    clips = (clip for one in rounds for clip in one if clip is not None)
    return sorted(itertools.islice(clips, most), key=str.encode)


def look_at_videos(
    videos: Iterable[Video], folder: PathLike, num_pictures: int
) -> Dict[Video, Look]:
    """Judge videos by a few pictures of each; keep the pictures as thumbnails.

    A run that was cut off goes on where it stopped. Thumbnails of other videos than
    these are removed.

    Args:
        videos: Which ones.
        folder: Gets <set>/<clip>.jpg, the pictures side by side, and pictures.journal.
        num_pictures: How many of each, evenly over its duration.

    Raises:
        InputError: the disk is full, another process works here.
    """
    folder, videos = Path(folder), list(videos)
    looks: Dict[Video, Look] = {}
    settings = {"num_pictures": num_pictures, "thumbnail": list(THUMBNAIL)}
    settings["of_folders"] = "middles"  # before: often of their first parts only
    is_own = (folder / "pictures.journal").is_file()
    with Journal(folder / "pictures.journal", settings, VERSIONS[4]) as journal:
        for place in (folder, *(p for p in folder.iterdir() if p.is_dir())):
            remove_leftovers(place)
        progress = Progress(len(videos), "videos looked at")
        for video in videos:
            source = [signature(video.path), video.seconds]
            entry = journal.entries.get(video.thumbnail, {})
            if not _finished(entry, source, folder / video.thumbnail):
                entry = _look(video, folder / video.thumbnail, num_pictures)
                entry["source"] = source
                with clear_disk_errors(journal.path):
                    journal.add(video.thumbnail, **entry)
            looks[video] = Look(**entry["look"])
            progress.step()
    wanted = {video.thumbnail for video in videos}
    for path in folder.glob("*/*.jpg") if is_own else ():
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    return looks


def describe(pictures: List[np.ndarray]) -> Look:
    """Measure pictures.

    Args:
        pictures: (H, W, 3), uint8, all of one size.
    """
    lumas = [picture @ _LUMA for picture in pictures]
    return Look(
        luma=round(max(float(luma.mean()) for luma in lumas), 2),
        spread=round(max(float(luma.std()) for luma in lumas), 2),
        change=round(max(_greatest_change(luma - lumas[0]) for luma in lumas), 2),
        count=len(lumas),
    )


def _greatest_change(difference: np.ndarray) -> float:
    """Return the greatest mean of a block, in magnitude; (H, W)."""
    side = min(_BLOCK, *difference.shape)
    height, width = (size // side for size in difference.shape)
    blocks = difference[: height * side, : width * side]
    means = blocks.reshape(height, side, width, side).mean(axis=(1, 3))
    return float(np.abs(means).max())


def sample_pictures(video: Video, num_pictures: int) -> List[np.ndarray]:
    """Return small pictures from the middles of equal parts of a video.

    Raises:
        ClipError: see :func:`video_frames`, :func:`read_image`.
    """
    if Path(video.path).is_dir():
        paths = list_images(video.path)
        length = Fraction(len(paths))
        middles = sample_times(length, min(num_pictures, length) / length)
        return [read_image(paths[int(place)], THUMBNAIL) for place in middles]
    info = measure(video.path) if not video.seconds else probe(video.path)
    if not info.has_video:
        raise ClipError(
            video.path, "no video stream", "A file with a picture is needed."
        )
    seconds = video.seconds or info.video_duration
    if not seconds:
        raise ClipError(video.path, "no pictures in the video stream")
    length = Fraction(seconds)
    times = sample_times(length, num_pictures / length)
    frames = video_frames(video.path, times, THUMBNAIL, info.zero)
    return [image for _, image in frames]


def _look(video: Video, thumbnail: Path, num_pictures: int) -> Dict[str, Any]:
    """Look at one video; return the fields of its journal entry."""
    try:
        pictures = sample_pictures(video, num_pictures)
        if len({picture.shape for picture in pictures}) > 1:
            raise ClipError(video.path, "pictures of different sizes")
    except ClipError as error:
        logging.warning("%s: %s", video.clip, error)
        thumbnail.unlink(missing_ok=True)
        return {"look": Look(error=error.reason)._asdict(), "bytes": 0}
    content = jpeg(np.hstack(pictures), _QUALITY)
    with clear_disk_errors(thumbnail):
        write_file(thumbnail, content)
    return {"look": describe(pictures)._asdict(), "bytes": len(content)}


def _finished(entry: Mapping[str, Any], source: List, thumbnail: Path) -> bool:
    if entry.get("source") != source:
        return False
    size = thumbnail.stat().st_size if thumbnail.is_file() else 0
    return size == entry["bytes"]


def _shuffled(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
