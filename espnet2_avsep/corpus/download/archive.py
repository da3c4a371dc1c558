"""Videos out of archives or folders that the user has fetched by other means."""

import logging
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Dict, Iterable, Iterator, List, Sequence, Tuple

from espnet2_avsep.corpus.download.catalogue import Video
from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError, clear_disk_errors

_SUFFIX = ".mp4"


def unpack(
    archives: Sequence[PathLike], videos: Iterable[Video], output_dir: PathLike
) -> int:
    """Put listed videos from archives to their places; others are passed over.

    A video is known by its file's name, wherever it stands in the archive. Those that
    are at their places already, in the same size, stay.

    Args:
        archives: zip files, tar files (compressed or not), or folders.
        videos: What to look for.
        output_dir: Videos go to its folder videos/.

    Returns:
        Number of videos that were found.

    Raises:
        InputError: an archive cannot be read, the disk is full.
    """
    folder = Path(output_dir) / "videos"
    places: Dict[str, List[Path]] = {}
    for video in videos:
        name = PurePosixPath(video.key).name
        places.setdefault(name, []).append(folder / f"{video.key}{_SUFFIX}")
    found = set()
    for archive in map(Path, archives):
        before = len(found)
        try:
            for name, size, content in _members(archive, places):
                found.add(name)
                for path in places[name]:
                    if path.is_file() and path.stat().st_size == size:
                        continue
                    content.seek(0)
                    with clear_disk_errors(path), atomic_write(path, "wb") as f:
                        shutil.copyfileobj(content, f, 1 << 20)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise InputError(
                f"--archive {archive}: cannot be read ({error}). Fetch it again; what "
                "was unpacked is kept."
            ) from error
        logging.info("%s: %d listed videos", archive, len(found) - before)
    return len(found)


def _members(archive: Path, names: Iterable[str]) -> Iterator[Tuple[str, int, IO]]:
    """Yield name, size and content of the files that have one of the names."""
    listed = set(names)

    def wanted(path: PurePath) -> bool:
        return path.suffix.lower() == _SUFFIX and path.stem in listed

    if archive.is_dir():
        for path in sorted(archive.rglob("*.*")):
            if wanted(path):
                with path.open("rb") as f:
                    yield path.stem, path.stat().st_size, f
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            for member in z.infolist():
                path = PurePosixPath(member.filename)
                if wanted(path):
                    with z.open(member) as f:
                        yield path.stem, member.file_size, f
    else:
        # "r|*" would be faster, but a member that belongs to two videos is read twice.
        with tarfile.open(archive, "r:*") as t:
            for entry in t:
                path = PurePosixPath(entry.name)
                if entry.isfile() and wanted(path):
                    content = t.extractfile(entry)
                    if content is not None:
                        yield path.stem, entry.size, content
