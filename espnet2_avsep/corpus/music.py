"""MUSIC and MUSIC-21: solos and duets of instruments, listed by JSON or CSV files."""

import logging
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from espnet2_avsep.corpus.clip import UNLISTED, Clip, Corpus
from espnet2_avsep.corpus.csv_tree import (
    find_lists,
    read_bare_tree,
    read_peer_tree,
)
from espnet2_avsep.corpus.lists import find_list, read_text
from espnet2_avsep.corpus.manifest import apply_manifest, read_manifest
from espnet2_avsep.corpus.tree import Tree
from espnet2_avsep.data.tables.clip_id import check_id
from espnet2_avsep.data.tables.json_file import parse_json
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.errors import InputError

LAYOUTS = ("auto", "json", "csv", "files")
# The classes of MUSIC-21; those of MUSIC are among them.
INSTRUMENTS = frozenset(
    ("accordion", "acoustic_guitar", "bagpipe", "banjo", "bassoon", "cello", "clarinet")
    + ("congas", "drum", "electric_bass", "erhu", "flute", "guzheng", "piano", "pipa")
    + ("saxophone", "trumpet", "tuba", "ukulele", "violin", "xylophone")
)


def read_music(
    root: Path,
    solo_json: str,
    duet_json: str,
    layout: str = "auto",
    check_count: bool = True,
) -> Corpus:
    """Read a folder of MUSIC or MUSIC-21, whatever its layout.

    Args:
        root: The folder.
        solo_json: Name of the list of solos, {"videos": {category: [id, ...]}}.
        duet_json: Name of the list of duets, whose categories are two instruments.
        layout: "json" (that list and videos), "csv" (audio, frames and CSV lists),
            "files" (whatever is there), or "auto": the first of these that fits.
        check_count: See :func:`read_peer_tree`.

    Raises:
        InputError: no layout fits, a list cannot be read.
    """
    json_files = [find_list(root, solo_json), find_list(root, duet_json)]
    tables = find_lists(root)
    if layout == "auto":
        layout = "json" if json_files[0] else "csv" if tables else "files"
        if layout == "files" and not _has_media(root):
            raise InputError(
                f"{root}: neither {solo_json} with the folder videos/, nor train.csv "
                "or metadata/train.csv with audio/ and frames/, nor any video or sound "
                "is there; see --help for the layouts."
            )
    if layout == "json":
        corpus = _read_json(root, json_files, solo_json)
    elif layout == "csv":
        if not tables:
            raise InputError(f"{root}: no train*.csv is there; give another --layout.")
        corpus = read_peer_tree(root, tables, check_count)
    else:
        logging.warning("%s: no list; what is missing cannot be told", root)
        corpus = read_bare_tree(root, Tree(root))
    failed = read_manifest(root)
    clips = {name: apply_manifest(clip, failed) for name, clip in corpus.clips.items()}
    pairs = dict(corpus.pairs)
    for name, clip in clips.items():
        pair = instruments_of(clip.category)
        if pair:
            pairs.setdefault(name, pair)
    return Corpus(corpus.layout, clips, corpus.lists, pairs)


def instruments_of(category: str) -> Optional[Tuple[str, str]]:
    """Return the two instruments of a duet's category; None: it is no duet's."""
    words = category.split()
    if len(words) == 2 and set(words) <= INSTRUMENTS:
        return words[0], words[1]
    return None


def _has_media(root: Path) -> bool:
    tree = Tree(root)
    return bool(tree.sounds or tree.videos)


def read_video_json(path: Path) -> Dict[str, List[str]]:
    """Read {"videos": {category: [id, ...]}}.

    Raises:
        InputError: it has another shape.
    """
    try:
        listed = parse_json(read_text(path))["videos"]
        return {
            check_id(path, category): [check_id(path, i) for i in ids]
            for category, ids in listed.items()
        }
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); expected "
            '{"videos": {category: [id, ...]}}.'
        ) from error


def _read_json(root: Path, files: List[Optional[Path]], solo_json: str) -> Corpus:
    if files[0] is None:
        raise InputError(
            f'{root / solo_json}: no such file; a list {{"videos": {{category: [id, '
            "...]}} was expected beside the folder videos/."
        )
    tree = Tree(root)
    clips: Dict[str, Clip] = {}
    pairs: Dict[str, Tuple[str, str]] = {}
    for path, duets in zip(files, (False, True), strict=True):
        if path is None:
            continue
        listed = [(c, i) for c, ids in read_video_json(path).items() for i in ids]
        for category, stem in listed:
            clip = tree.clip(category, stem)
            clips[clip.name] = clip
            if duets:
                words = tuple(category.split())
                if len(words) != 2:
                    raise InputError(
                        f"{path}: the category {category!r}; expected two instruments, "
                        'such as "cello violin".'
                    )
                pairs[clip.name] = (words[0], words[1])
        names = {f"{c}/{i}" for c, i in listed}
        lost = sorted(name for name in names if clips[name].problem)
        if lost:
            logging.warning(
                "%d of the %d videos of %s are not there: %s",
                len(lost),
                len(names),
                path.name,
                shorten(lost),
            )
    # Only where the list's categories are: there may be other things below the root.
    categories = {clip.category for clip in clips.values()}
    extra = [
        f"{category}/{stem}"
        for category, stem in tree.names()
        if category in categories and f"{category}/{stem}" not in clips
    ]
    if extra:
        logging.warning(
            "%d files are not in %s and are left out: %s",
            len(extra),
            solo_json,
            shorten(extra),
        )
    for name in extra:
        category, stem = name.split("/")
        clips[name] = Clip(category, stem, problem=f"{UNLISTED}{solo_json}")
    return Corpus("videos, JSON list", clips, {}, pairs)
