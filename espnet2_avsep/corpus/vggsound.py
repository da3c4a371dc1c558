"""VGGSound: clips of 10 s named <video id>_<start in s, six digits>.mp4.

Chen et al., ICASSP 2020. The list vggsound.csv has rows
"video id,start in s,label,train or test" and no header.
"""

import csv
import logging
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Set

from espnet2_avsep.corpus.archives import extract_videos, find_archives
from espnet2_avsep.corpus.clip import NOT_FOUND, Clip, Corpus, GivenList
from espnet2_avsep.corpus.csv_tree import find_lists, read_peer_tree
from espnet2_avsep.corpus.lists import find_list, read_text
from espnet2_avsep.corpus.manifest import apply_manifest, read_manifest
from espnet2_avsep.corpus.tree import Tree
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.clip_id import check_id
from espnet2_avsep.errors import InputError

LIST = "vggsound.csv"
COLUMNS = "<video id>,<start in s>,<label>,<train or test>"


class ListedClip(NamedTuple):
    """A row of vggsound.csv."""

    video: str
    start: int
    label: str
    part: str

    @property
    def stem(self) -> str:
        """The name of its file without the ending."""
        return f"{self.video}_{self.start:06d}"

    @property
    def stems(self) -> List[str]:
        """All names that its file has in copies of the corpus, the official one first.

        Seconds or milliseconds of start and end also come; only the id last.
        """
        begin = self.start
        return [
            self.stem,
            f"{self.video}_{begin}",
            f"{self.video}_{begin}_{begin + 10}",
            f"{self.video}_{1000 * begin}_{1000 * (begin + 10)}",
            self.video,
        ]


def read_vggsound(
    root: Path,
    list_file: Optional[Path] = None,
    extract_dir: Optional[Path] = None,
    check_count: bool = True,
) -> Corpus:
    """Read a folder of VGGSound.

    Args:
        root: Holds the videos, in any folders; or archives of them; or audio and frames
            with CSV lists.
        list_file: vggsound.csv; None: it is looked for in ``root``.
        extract_dir: Where videos out of archives go and are looked for.
        check_count: See :func:`read_peer_tree`.

    Raises:
        InputError: no list, archives without ``extract_dir``.
    """
    list_file = list_file or find_list(root, LIST)
    if list_file is None:
        tables = find_lists(root)
        if not tables:
            raise InputError(
                f"{root}: {LIST} is not there, nor is train.csv; give --list "
                f"<file> with rows {COLUMNS}."
            )
        return read_peer_tree(root, tables, check_count)
    rows = read_rows(list_file)
    layout, cut_off = "videos <id>_<start>, vggsound.csv", []
    trees = [Tree(root)]
    archives = find_archives(root)
    if archives:
        if extract_dir is None:
            raise InputError(
                f"{root}: holds {len(archives)} archives ({archives[0].name}, ...); "
                "give --extract_dir <folder> with room for their videos."
            )
        layout = "archives of videos, vggsound.csv"
        wanted = {stem for row in rows for stem in row.stems}
        cut_off = extract_videos(archives, extract_dir, wanted)["cut off"]
    if extract_dir is not None and extract_dir.is_dir():
        trees.append(Tree(extract_dir))
    failed = read_manifest(root)
    clips: Dict[str, Clip] = {}
    names: Dict[str, List[str]] = {"train": [], "test": []}
    for row in rows:
        clip = apply_manifest(_find(trees, row), failed)
        if clip.problem == NOT_FOUND and cut_off:
            clip = clip._replace(problem=f"{NOT_FOUND}: {', '.join(cut_off)} cut off")
        clips[clip.name] = clip
        names[row.part].append(clip.name)
    _leave_out_shared(clips)
    digest = file_sha256(list_file)
    lists = {
        part: GivenList(found, f"{list_file.name}, rows of {part}", digest)
        for part, found in names.items()
        if found
    }
    return Corpus(layout, clips, lists)


def _leave_out_shared(clips: Dict[str, Clip]) -> None:
    """Give clips a problem whose file is that of another section of the video, too.

    A file that is called by the video's id only does not tell which one it is.
    """
    sections: Dict[str, Set[str]] = {}
    for clip in clips.values():
        sections.setdefault(clip.sound, set()).add(clip.stem)
    for name, clip in clips.items():
        stems = sections[clip.sound]
        if clip.sound and len(stems) > 1:
            problem = f"one file for {len(stems)} sections: {clip.sound} may be " + (
                " or ".join(sorted(stems))
            )
            clips[name] = clip._replace(sound="", picture="", problem=problem)


def read_rows(path: Path) -> List[ListedClip]:
    """Read vggsound.csv.

    Raises:
        InputError: a row has another form.
    """
    rows = []
    reader = csv.reader(read_text(path).splitlines(), skipinitialspace=True)
    for number, cells in enumerate(reader, 1):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        has_start = len(cells) == 4 and cells[1].isdecimal()
        has_part = len(cells) == 4 and cells[3] in ("train", "test")
        if number == 1 and len(cells) == 4 and not (has_start or has_part):
            continue  # a header
        if not (has_start and has_part):
            raise InputError(
                f"{path}, line {number}: {','.join(cells)!r}; expected {COLUMNS}."
            )
        where = f"{path}, line {number}"
        label = check_id(where, cells[2].replace("/", " "))
        video = check_id(where, cells[0])
        rows.append(ListedClip(video, int(cells[1]), label, cells[3]))
    logging.info("%s: %d clips are listed", path, len(rows))
    return rows


def _find(trees: List[Tree], row: ListedClip) -> Clip:
    """Look for a clip's files; its name is the official one whatever theirs is."""
    clip = Clip(row.label, row.stem, problem=NOT_FOUND)
    for stem in row.stems:
        for tree in trees:
            found = tree.clip(row.label, stem, anywhere=True)
            if not found.problem:
                clip = found._replace(stem=row.stem)
                return clip._replace(video=row.video)
            if found.problem != NOT_FOUND:
                clip = clip._replace(problem=found.problem)
    return clip._replace(video=row.video)
