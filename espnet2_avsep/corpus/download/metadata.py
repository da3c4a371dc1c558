"""A corpus' official files of metadata, fetched once and checked."""

import logging
import shutil
from pathlib import Path
from typing import Dict, Optional

from espnet2_avsep.corpus.download.catalogue import CORPORA, write_ave_splits
from espnet2_avsep.data.fetch import FetchError, fetch_file
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.errors import InputError, clear_disk_errors

# Needed only where a clip has to be cut out of its video.
_OPTIONAL_WITH_ARCHIVE = ("segments.csv",)


def get_metadata(
    corpus: str,
    output_dir: PathLike,
    metadata_dir: Optional[PathLike] = None,
    proxy: Optional[str] = None,
    archive: bool = False,
) -> Dict[str, str]:
    """Put a corpus' files of metadata into a folder; those that are there stay.

    Args:
        corpus: Its name.
        output_dir: Gets the files.
        metadata_dir: Folder to copy them from; None: from where they are published.
        proxy: URL of a proxy for http and https.
        archive: Whether the clips come out of an archive, so that nobody need know
            where they begin in their videos.

    Returns:
        File -> SHA-256.

    Raises:
        InputError: a file cannot be had, or has not the published form.
    """
    folder = Path(output_dir)
    digests = {}
    for name, url in CORPORA[corpus].files.items():
        path = folder / name
        if archive and name.endswith(_OPTIONAL_WITH_ARCHIVE):
            continue
        if metadata_dir is not None:
            given = Path(metadata_dir) / name
            if not given.is_file() and not path.is_file():
                if corpus == "ave" and name != "Annotations.txt":
                    logging.warning("%s: no such file; done without it", given)
                    continue
                raise InputError(
                    f"--metadata_dir {metadata_dir}: has no {name}. It is published at "
                    f"{url}."
                )
            if given.is_file() and not _same(given, path):
                with given.open("rb") as source, atomic_write(path, "wb") as f:
                    shutil.copyfileobj(source, f)
        elif not path.is_file():
            with clear_disk_errors(path):
                _fetch(url, path, proxy)
        digests[name] = file_sha256(path)
        logging.info("%s: SHA-256 %s", path, digests[name])
    if corpus == "ave":
        for name in ("trainSet.txt", "valSet.txt", "testSet.txt"):
            given = Path(metadata_dir or folder) / name
            if given.is_file() and given != folder / name:
                with given.open("rb") as source, atomic_write(folder / name, "wb") as f:
                    shutil.copyfileobj(source, f)
        write_ave_splits(folder)
    return digests


def _same(a: Path, b: Path) -> bool:
    return (
        b.is_file()
        and a.stat().st_size == b.stat().st_size
        and file_sha256(a) == file_sha256(b)
    )


def _fetch(url: str, path: Path, proxy: Optional[str]) -> None:
    try:
        fetch_file(url, path, proxy=proxy)
    except FetchError as error:
        raise InputError(
            f"{url}: cannot be fetched ({error}). Run again when the network is "
            f"there, give --proxy, or fetch {path.name} by other means and give "
            "--metadata_dir its folder."
        ) from error
