"""manifest.tsv, which avsep_download leaves beside the videos."""

from pathlib import Path
from typing import Dict

from espnet2_avsep.corpus.clip import Clip
from espnet2_avsep.data.tables.tsv import read_tsv

NAME = "manifest.tsv"


def read_manifest(folder: Path) -> Dict[str, str]:
    """Return id -> why it could not be fetched, for all ids whose status is not "ok".

    Raises:
        InputError: the table lacks the columns id, status or reason.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    fix = "avsep_download writes it: remove it, or download again."
    rows = read_tsv(path, ("id", "status", "reason"), fix)
    return {
        row["id"]: row["reason"] or row["status"]
        for row in rows
        if row["status"] != "ok"
    }


def apply_manifest(clip: Clip, failed: Dict[str, str]) -> Clip:
    """Give a clip that was not fetched the manifest's reason, whatever is there."""
    for name in (clip.name, clip.stem, clip.video):
        if name in failed:
            problem = f"not downloaded: {failed[name]}"
            return clip._replace(sound="", picture="", problem=problem)
    return clip
