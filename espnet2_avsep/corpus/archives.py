"""Videos out of tar archives, as in the mirror of VGGSound (vggsound_NN.tar.gz).

Only wanted videos are taken, each written under its own name into one folder; paths
within the archive decide nothing about where, so that no archive can write elsewhere.
"""

import contextlib
import logging
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Dict, List, Set

from espnet2_avsep.data.records.journal import Journal, remove_leftovers, signature
from espnet2_avsep.data.tables.clip_id import VIDEO_SUFFIXES
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.errors import InputError

JOURNAL = "archives.journal"
_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def find_archives(folder: Path) -> List[Path]:
    """Return the tar archives of a folder, sorted."""
    paths = [path for path in folder.iterdir() if path.name.lower().endswith(_SUFFIXES)]
    return sorted(path for path in paths if not path.name.startswith("."))


def extract_videos(archives: List[Path], output_dir: Path, wanted: Set[str]) -> Dict:
    """Extract the wanted videos; a second run takes up where the first one ended.

    An archive that was read to its end is not opened again, unless it has changed, one
    of its videos is gone, or other videos are wanted. Of one that was not, what lies in
    ``output_dir`` with the right size is kept.

    Args:
        archives: The archives.
        output_dir: Where the videos go.
        wanted: Names of the videos' files without the ending.

    Returns:
        ``extracted`` (in this run), ``kept``, ``refused`` (links, devices, paths with
        "..") and ``cut off``: the names of archives that end too early.

    Raises:
        InputError: not an archive, or the disk is full.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    counts: Dict = {"extracted": 0, "kept": 0, "refused": 0, "cut off": []}
    settings = {"wanted": zlib.crc32("\n".join(sorted(wanted)).encode())}
    with Journal(output_dir / JOURNAL, settings) as journal:
        remove_leftovers(output_dir)
        there = set(os.listdir(output_dir))
        for path in archives:
            state = signature(str(path))
            entry = journal.entries.get(path.name, {})
            # An earlier version did not note the videos.
            if entry.get("archive") == state and there.issuperset(
                entry.get("videos", ())
            ):
                continue
            videos: List[str] = []
            try:
                _extract(path, output_dir, wanted, counts, videos)
            except (EOFError, zlib.error, tarfile.ReadError) as error:
                is_archive = videos or "unexpected end" in str(error)
                if isinstance(error, tarfile.ReadError) and not is_archive:
                    raise InputError(
                        f"{path}: is no tar archive ({error}); fetch it again, or take "
                        "it out of the folder."
                    ) from error
                logging.warning(
                    "%s: is cut off (%s); %d of its videos are used. Fetch it again.",
                    path,
                    error,
                    len(videos),
                )
                counts["cut off"].append(path.name)
            except OSError as error:
                raise InputError(
                    f"{path}: cannot be extracted to {output_dir} ({error}); make "
                    "room, or give another --extract_dir. What is finished is kept."
                ) from error
            else:
                journal.add(path.name, archive=state, videos=videos)
            logging.info("%s: %s", path.name, counts)
    return counts


def _extract(
    path: Path, output_dir: Path, wanted: Set[str], counts: Dict, videos: List[str]
) -> None:
    """Extract an archive; add to the counts, and the names of files to ``videos``."""
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if name.suffix.lower() not in VIDEO_SUFFIXES or name.stem not in wanted:
                continue
            if not member.isfile() or name.is_absolute() or ".." in name.parts:
                logging.warning("%s: %s is refused", path, member.name)
                counts["refused"] += 1
                continue
            target = output_dir / f"{name.stem}{name.suffix.lower()}"
            with contextlib.suppress(FileNotFoundError):
                if os.stat(target).st_size == member.size:
                    counts["kept"] += 1
                    videos.append(target.name)
                    continue
            content = archive.extractfile(member)
            with atomic_write(target, "wb") as f:
                shutil.copyfileobj(content, f, 1 << 20)
                if f.tell() != member.size:
                    raise EOFError(f"{member.name} has {f.tell()} bytes")
            counts["extracted"] += 1
            videos.append(target.name)
