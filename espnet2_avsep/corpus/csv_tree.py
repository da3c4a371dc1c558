"""audio/ and frames/ with CSV lists: Sound-of-Pixels, CLIPSep, iQuery, HFRA.

Rows of their lists are "audio path,folder of frames,number of frames", CLIPSep's and
DAVIS' with the category as fourth column. The paths are those of their authors'
machines, begin at different folders or with "/"; so where they do not exist, the last
two parts, category and name, are looked up among what is there.
"""

import logging
import os
from pathlib import Path
from typing import Dict, List

from espnet2_avsep.corpus.clip import NOT_FOUND, Clip, Corpus, GivenList
from espnet2_avsep.corpus.lists import Row, is_pair_list, read_list
from espnet2_avsep.corpus.tree import Tree, count_images
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.clip_id import plain_name, split_name
from espnet2_avsep.errors import InputError

# Kind of the problem that --frame_count ignore takes away.
COUNT = "number of images"
_PLACES = ("metadata", ".", "data", "lists", "solo", "data/solo", "MUSIC/solo")


def find_lists(root: Path) -> Dict[str, Path]:
    """Find the CSV lists of a corpus: stem -> file; pair lists are not among them."""
    for place in _PLACES:
        files = sorted((root / place).glob("[!.]*.csv"))
        files = [path for path in files if path.stem != "vggsound"]
        if any(path.stem.startswith("train") for path in files):
            pairs = [path for path in files if is_pair_list(path)]
            if pairs:
                logging.info(
                    "lists of mixtures, for --test_mixture_list: %s",
                    ", ".join(map(str, pairs)),
                )
            return {path.stem: path for path in files if path not in pairs}
    return {}


def read_peer_tree(root: Path, files: Dict[str, Path], check_count: bool) -> Corpus:
    """Read the clips that CSV lists name.

    Args:
        root: Folder of the corpus.
        files: What find_lists found.
        check_count: Whether a folder of frames must hold as many images as stated.

    Raises:
        InputError: a list cannot be read, a name means different files.
    """
    tree = Tree(root)
    clips: Dict[str, Clip] = {}
    lists: Dict[str, GivenList] = {}
    for stem, path in files.items():
        names = []
        try:
            rows = read_list(path)
        except InputError as error:
            if stem.startswith(("train", "val", "test")):
                raise
            logging.warning(
                "%s: is no list of clips and is passed over (%s)", path, error
            )
            continue
        for row in rows:
            clip = _listed_clip(tree, row, check_count)
            known = clips.setdefault(clip.name, clip)
            if bool(known.problem) != bool(clip.problem):
                raise InputError(
                    f"{path}, line {row.number}: {clip.name} is listed twice, and one "
                    f"of its rows does not fit ({known.problem or clip.problem}). "
                    "Correct it, or take it out."
                )
            if known != clip and not clip.problem:
                raise InputError(
                    f"{path}, line {row.number}: {clip.name} means other files "
                    "than before; a category/id must name one clip."
                )
            names.append(clip.name)
        lists[stem] = GivenList(names, path.name, file_sha256(path))
    return Corpus("audio and frames, CSV lists", clips, lists)


def read_bare_tree(root: Path, tree: Tree) -> Corpus:
    """Read whatever is there; nothing tells what is missing."""
    found = [tree.clip(*place, prefer_video=False) for place in tree.names()]
    if not found:
        raise InputError(f"{root}: there is neither sound nor video below this folder.")
    return Corpus(
        "files without a list", {clip.name: clip for clip in found if clip.category}
    )


def _listed_clip(tree: Tree, row: Row, check_count: bool) -> Clip:
    """Return the clip of a row."""
    if not row.cells:  # a list of names
        if row.category is None:
            return _clip_of_id(tree, row.stem)
        return tree.clip(row.category, row.stem, prefer_video=False)
    sound, frames, stated = row.cells[0], row.cells[1], int(row.cells[2])
    clip = Clip(row.category, row.stem)
    found_sound = _find(tree, sound, "sounds") or _find(tree, sound, "videos")
    found_frames = _find(tree, frames, "frames") or _find(tree, frames, "videos")
    for value, found in ((sound, found_sound), (frames, found_frames)):
        if len(found) > 1:
            which = ", ".join(map(str, found))
            return clip._replace(problem=f"ambiguous: {value} may be several: {which}")
    if not found_frames and found_sound:
        found_frames = _find(tree, sound, "videos")
    for value, found in ((sound, found_sound), (frames, found_frames)):
        if not found:
            return clip._replace(problem=f"file not found: {value}")
    folder = found_frames[0]
    if folder.is_dir() and check_count:
        count = count_images(folder)
        if count != stated:
            problem = f"{COUNT}: {frames} holds {count}, the list says {stated}"
            return clip._replace(problem=problem)
    return clip._replace(sound=str(found_sound[0]), picture=str(folder))


def _clip_of_id(tree: Tree, stem: str) -> Clip:
    """Return the clip of a list of ids, whose category is that of its files."""
    files = [
        path
        for kind in ("sounds", "videos", "frames")
        for path in tree.by_stem(kind).get(stem, [])
    ]
    categories = sorted({plain_name(path.parent.name) for path in files})
    if len(categories) == 1:
        return tree.clip(categories[0], stem, prefer_video=False)
    problem = NOT_FOUND
    if categories:
        problem = f"ambiguous: {stem} may be several: it is in {', '.join(categories)}"
    return Clip("unknown", stem, problem=problem)


def _find(tree: Tree, value: str, kind: str) -> List[Path]:
    """Find what a path in a list means; several files where it is ambiguous."""
    if kind != "videos":
        inside = value.lstrip("/")
        for path in (Path(value), tree.root / inside, tree.root.parent / inside):
            if path.is_file() if kind == "sounds" else path.is_dir():
                return [Path(os.path.abspath(path))]
    parts = split_name(value)
    found = getattr(tree, kind).get(tuple(parts[-2:]), [])
    if len(found) > 1:
        # The more of the folders agree, the better.
        backwards = {path: split_name(str(path))[::-1] for path in found}
        alike = {
            path: len(os.path.commonprefix([names, parts[::-1]]))
            for path, names in backwards.items()
        }
        found = [path for path in found if alike[path] == max(alike.values())]
    return found
