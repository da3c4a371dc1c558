"""Folders of single clips: <dumpdir>/raw/<train_set>, <dumpdir>/raw/org/<set>_clips.

Stage 4 makes them, and mixes the clips of the latter into <dumpdir>/raw/<set>.
"""

import os
from pathlib import Path
from typing import Dict, Tuple

from espnet2_avsep.data.tables.key_check import check_same_keys
from espnet2_avsep.data.tables.scp import PathLike, read_scp
from espnet2_avsep.errors import InputError


def read_clip_tables(folder: PathLike, *names: str) -> Tuple[Dict[str, str], ...]:
    """Read tables of a folder of single clips.

    Args:
        folder: The folder.
        names: Of the tables, which must list the same clips.

    Raises:
        InputError: a table is missing, or the tables disagree. Where the folder has
            the mixtures of a set, or its clips before stage 4, the message names the
            folder of its clips.
    """
    folder = Path(folder)
    _check_folder(folder)
    tables = {str(folder / name): read_scp(folder / name) for name in names}
    check_same_keys(tables)
    return tuple(tables.values())


def clip_set(name: str, folder: PathLike) -> str:
    """Return the set whose clips a set mixes: stage 4 notes it where it is another.

    Args:
        name: Of the set of mixtures.
        folder: Of its mixtures, <dumpdir>/raw/<set>.
    """
    noted = Path(folder) / "clips_of"
    return noted.read_text(encoding="utf-8").strip() if noted.is_file() else name


def features_folder(folder: PathLike) -> Path:
    """Return the folder in which stage 2 describes the features of some clips.

    Args:
        folder: Of clips or mixtures, made by stage 4.
    """
    folder = Path(folder)
    if folder.parent.name == "org" and folder.name.endswith("_clips"):
        return folder.parent.parent / folder.name.removesuffix("_clips")
    return folder


def _check_folder(given: Path) -> None:
    """Raise where other folders of a set are known by what they hold."""
    folder = given if given.name else Path(os.path.abspath(given))  # "."
    clips = folder.parent / "org" / f"{clip_set(folder.name, folder)}_clips"
    where = "of this set are in {}"
    if (folder / "real_mixtures.tsv").is_file():
        reason, where = "has real mixtures", "of a real mixture are not known"
    elif (folder / "mixtures.tsv").is_file():
        reason = "has mixtures"
    elif (folder / "wav.scp").is_file() and not (folder / "utt2spk").is_file():
        places = (
            folder.parent / f"{folder.name}_clips",
            folder.parent.parent / folder.name,
        )
        known = [place for place in places if (place / "utt2spk").is_file()]
        if not known:
            return
        reason, clips = "has no table of classes, utt2spk", known[0]
    else:
        return
    raise InputError(
        f"{given}: {reason}; expected the single clips that stage 4 has kept. Those "
        f"{where.format(clips)}."
    )
