"""Clips of one video, which are not mixed with one another.

A video may have several clips: events of two classes (AVE), two sections of ten seconds
(VGGSound), one file in two folders. They share pictures, and often sound, so that a
mixture of two of them has no right answer.

Stage 1 writes ``utt2video`` of every set. Stage 4 copies it beside what it makes, but
only where clips of the set share a video: without the table, each clip is of a video of
its own.
"""

from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Sequence, Set

from espnet2_avsep.data.tables.scp import PathLike, read_scp, write_scp

TABLE = "utt2video"


def read_videos(folder: PathLike, clips: Iterable[str]) -> Dict[str, str]:
    """Read which video each clip is of.

    Args:
        folder: Holds utt2video, or has no such table.
        clips: The clips that are wanted; a clip that the table lacks is of a video of
            its own.

    Returns:
        Clip -> video; empty where no two of the clips share a video.
    """
    path = Path(folder) / TABLE
    if not path.is_file():
        return {}
    table = read_scp(path, allow_empty=True)
    videos = {clip: table.get(clip, clip) for clip in clips}
    return videos if len(set(videos.values())) < len(videos) else {}


def copy_videos(source: PathLike, output_dir: PathLike, clips: Iterable[str]) -> bool:
    """Copy the table for these clips, where two of them share a video.

    Returns:
        Whether it was written; otherwise, one that was there is removed.
    """
    videos = read_videos(source, clips)
    path = Path(output_dir) / TABLE
    if videos:
        write_scp(path, videos)
    else:
        path.unlink(missing_ok=True)
    return bool(videos)


def repeats(clips: Sequence[str], video: Mapping[str, str]) -> bool:
    """Whether two of these clips are of one video (or class, with clip -> class)."""
    return len({video.get(clip, clip) for clip in clips}) < len(clips)


def classes_never_exhausted(
    category: Mapping[str, str], videos: Mapping[str, str], number: int
) -> int:
    """Count the classes that offer a clip whatever was drawn before from the others.

    With at least ``number`` such classes, ``number`` clips of different classes and
    videos can be drawn one after the other, without a look ahead.

    Args:
        category: Clip -> class.
        videos: Clip -> video.
        number: Clips that are drawn.
    """
    of_class: Dict[str, Set[str]] = {}
    for clip, name in category.items():
        of_class.setdefault(name, set()).add(videos.get(clip, clip))
    uses = Counter(video for own in of_class.values() for video in own)
    return sum(
        len(own) >= number or all(uses[video] == 1 for video in own)
        for own in of_class.values()
    )


def different_clips(
    clips: Iterable[str],
    category: Mapping[str, str],
    videos: Mapping[str, str],
    number: int,
) -> List[str]:
    """Find clips of different classes and of different videos.

    Harold W. Kuhn, "The Hungarian Method for the assignment problem", Naval Research
    Logistics Quarterly, 1955: classes and videos are matched, clips are the edges.

    Args:
        clips: To choose from; the first ones are preferred.
        category: Clip -> class.
        videos: Clip -> video.
        number: How many are wanted.

    Returns:
        The clips, or as many as there can be.
    """
    members: Dict[str, List[str]] = {}
    for clip in clips:
        members.setdefault(category[clip], []).append(clip)
    chosen: Dict[str, str] = {}  # video -> clip

    def choose(name: str, seen: Set[str]) -> bool:
        for clip in members[name]:
            video = videos.get(clip, clip)
            if video in seen:
                continue
            seen.add(video)
            if video not in chosen or choose(category[chosen[video]], seen):
                chosen[video] = clip
                return True
        return False

    for name in members:
        if len(chosen) < number:
            choose(name, set())
    return list(chosen.values())
