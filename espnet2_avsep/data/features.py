"""Visual embeddings (or packed frames) on disk: written resumably, read with checks."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterable, Mapping, Optional, Tuple, Union

import numpy as np

from espnet2_avsep.data.frame_store import PackedFrames
from espnet2_avsep.data.records.content import (
    Content,
    digest_bytes,
    hash_bytes,
    is_older,
    split_reference,
    write_content,
    written_at,
)
from espnet2_avsep.data.records.journal import Journal, signature
from espnet2_avsep.data.records.made_from import VERSIONS
from espnet2_avsep.data.tables.scp import PathLike, atomic_write, read_scp, write_scp
from espnet2_avsep.data.tables.table_entry import (
    load_matrix,
    open_h5,
    parse_ref,
    read_h5,
)
from espnet2_avsep.errors import InputError, clear_disk_errors
from espnet2_avsep.media.container import ClipError


class FeatureWriter:
    """A kaldi ark that grows by one matrix at a time and survives being killed.

    A matrix counts once the journal lists it: what a crash left after the last listed
    one is cut off when the ark is opened again. The table (visual.scp) appears when all
    is done, by renaming.

    Args:
        folder: Holds <name>.ark, <name>.scp, <name>_shape and <name>.journal.
        settings: Everything that decides what the matrices look like. With other
            settings than last time the ark begins anew.
        name: Stem of the files.

    Attributes:
        entries: key -> what the journal tells of a finished matrix ("offset", "end",
            "shape", "source").
    """

    def __init__(
        self, folder: PathLike, settings: Dict[str, Any], name: str = "visual"
    ):
        self.folder = Path(folder)
        self.name = name
        self.ark = self.folder / f"{name}.ark"
        with clear_disk_errors(self.ark):
            written = written_at(self.folder / f"{name}.journal")
            journal = self.folder / f"{name}.journal"
            self._journal = Journal(journal, settings, VERSIONS[2])
            size = self.ark.stat().st_size if self.ark.exists() else 0
            self.entries = {
                key: entry
                for key, entry in self._journal.entries.items()
                if entry["end"] <= size
            }
            self._drop_overwritten(written)
            self._end = max(
                (entry["end"] for entry in self.entries.values()), default=0
            )
            # Unbuffered: what fails to be written must not be written on closing.
            self._file = open(self.ark, "ab", buffering=0)  # noqa: SIM115
            if size != self._end:
                self._file.truncate(self._end)

    def write(
        self,
        key: str,
        matrix: Union[np.ndarray, PackedFrames],
        source: Any = None,
        notes: Any = None,
    ) -> None:
        """Append a matrix; it is on the disk, and listed, when this returns.

        Args:
            key: The clip's id.
            matrix: (n, D), stored as float32; or packed frames, stored as they are.
            source: What it was made from, for the journal (see journal.signature).
            notes: What else the journal is to keep, for tables that are made of it.

        Raises:
            InputError: disk full.
        """
        content = io.BytesIO()
        offset = write_record(content, key, matrix)
        with clear_disk_errors(self.ark):
            _write_all(self._file, content.getbuffer())
            os.fsync(self._file.fileno())
            entry = {
                "offset": self._end + offset,
                "end": self._end + content.getbuffer().nbytes,
                "shape": list(matrix.shape),
                "source": source,
                "digest": hash_bytes(content.getbuffer()[offset:]),
                **({} if notes is None else {"notes": notes}),
            }
            self._journal.add(key, **entry)
        self._end = entry["end"]
        self.entries[key] = entry

    def remove_tables(self) -> None:
        """Remove the tables of an earlier run: work on the ark goes on."""
        for suffix in (".scp", ".content", "_shape"):
            (self.folder / f"{self.name}{suffix}").unlink(missing_ok=True)

    def write_tables(self, keys: Iterable[str]) -> None:
        """Write <name>_shape ("key n,D"), <name>.content and, last, <name>.scp.

        Args:
            keys: The finished matrices to list.
        """
        keys = list(keys)
        with clear_disk_errors(self.folder / f"{self.name}.scp"):
            write_scp(
                self.folder / f"{self.name}_shape",
                {k: ",".join(map(str, self.entries[k]["shape"])) for k in keys},
            )
            scp = self.folder / f"{self.name}.scp"
            write_content(
                scp,
                {
                    k: Content(
                        self._digest(self.entries[k]),
                        self.entries[k]["end"] - self.entries[k]["offset"],
                        self.entries[k]["source"],
                    )
                    for k in keys
                },
            )
            write_scp(scp, {k: f"{self.ark}:{self.entries[k]['offset']}" for k in keys})

    def _digest(self, entry: Dict[str, Any]) -> str:
        """Return a record's digest; an earlier version did not note it."""
        if "digest" in entry:
            return entry["digest"]
        start = entry["offset"]
        return digest_bytes(self.ark, start, entry["end"] - start)

    def _drop_overwritten(self, written: Tuple[int, int]) -> None:
        """Forget matrices that are no longer in the ark as they were written.

        Args:
            written: Of the journal; see data.content.written_at.
        """
        if not self.entries or is_older(self.ark.stat(), written):
            return
        for key, entry in list(self.entries.items()):
            start = entry["offset"]
            found = digest_bytes(self.ark, start, entry["end"] - start)
            if entry.get("digest", found) != found:
                del self.entries[key]

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._journal.close()

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def write_record(
    file: BinaryIO, key: str, matrix: Union[np.ndarray, PackedFrames]
) -> int:
    """Append "key record" to an ark.

    Args:
        file: Open for writing.
        key: The record's key.
        matrix: (n, D), written as a float32 Kaldi matrix; or packed frames.

    Returns:
        Where the record itself begins.
    """
    offset = file.tell() + len(key.encode()) + 1
    if isinstance(matrix, PackedFrames):
        file.write(key.encode() + b" " + matrix.to_bytes())
    else:
        import kaldiio

        kaldiio.save_ark(file, {key: np.asarray(matrix, dtype=np.float32)})
    return offset


def write_ark(
    scp: PathLike,
    ark: PathLike,
    records: Iterable[Tuple[str, Union[np.ndarray, PackedFrames]]],
) -> None:
    """Write an ark, what it holds (``.content``), and last its table.

    Args:
        scp: The table.
        ark: The ark that it refers to.
        records: Key and matrix or frames; see :func:`write_record`.
    """
    table, rows = {}, {}
    with atomic_write(ark, "wb") as f:
        for key, matrix in records:
            record = io.BytesIO()
            offset = write_record(record, key, matrix)
            body = record.getbuffer()[offset:]
            table[key] = f"{ark}:{f.tell() + offset}"
            rows[key] = Content(hash_bytes(body), len(body))
            f.write(record.getbuffer())
    write_content(scp, rows)
    write_scp(scp, table)


def _write_all(file, content: memoryview) -> None:
    while content:
        content = content[file.write(content) :]


def finite_float32(values: np.ndarray, path: PathLike, what: str) -> np.ndarray:
    """Return an array as float32, contiguous.

    Raises:
        ClipError: it holds NaN, infinity, or more than float32 can hold; names the file
            ``path`` and ``what`` it holds.
    """
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ClipError(path, f"{what} hold NaN or infinite values")
    return values


class PrecomputedFeatures:
    """Embeddings that were made elsewhere, taken as they are.

    Args:
        path: A kaldi scp (keys: the clips' ids, or category/video_id) or HFRA's single
            HDF5 file (category/video_id -> (n, D)).
        utt2clip: The clips' ids -> category/video_id; needed for HDF5.

    Attributes:
        settings: What decides about all matrices.
        info: What they are, for visual_info.yaml.

    Raises:
        InputError: the file is missing or unreadable, or HDF5 comes without utt2clip.
    """

    def __init__(self, path: PathLike, utt2clip: Optional[Mapping[str, str]] = None):
        self.path = Path(path)
        self.utt2clip = utt2clip or {}
        self._h5 = None
        self._arks: Dict[str, Any] = {}
        if not self.path.is_file():
            raise InputError(
                f"--precomputed {path}: no such file; a kaldi scp or an HDF5 file was "
                "expected."
            )
        self.settings = {"precomputed": signature(str(path))}
        self.info = {"file": str(path), "bytes": self.path.stat().st_size}
        if self.path.suffix.lower() not in (".h5", ".hdf5"):
            self._table = read_scp(self.path)
            return
        if utt2clip is None:
            raise InputError(
                f"--precomputed {path}: its keys are category/video_id; give "
                "--utt2clip, the table of stage 1 that tells which clip is which."
            )
        try:
            self._h5 = open_h5(self.path)
        except OSError as error:
            raise InputError(
                f"--precomputed {path}: not readable as HDF5 ({error}); copy it again."
            ) from error

    def source(self, key: str) -> Any:
        """Return what tells whether a clip's matrix is still the same.

        The file itself (the table, or HDF5) is not part of it.
        """
        clip = self.utt2clip.get(key, key)
        if self._h5 is not None:
            return clip
        value = self._table.get(key) or self._table.get(clip) or ""
        path = split_reference(value)[0]
        if path not in self._arks:
            self._arks[path] = signature(path)
        return [clip, self._arks[path]]

    def load(self, key: str) -> np.ndarray:
        """Read the matrix of a clip.

        Args:
            key: The clip's id.

        Returns:
            (n, D), float32.

        Raises:
            ClipError: it is not there, not readable, or not a finite 2-D float matrix.
        """
        matrix = self._read(key)
        if matrix.ndim != 2 or matrix.dtype.kind != "f" or 0 in matrix.shape:
            raise ClipError(
                self.path,
                f"precomputed features are {matrix.dtype} of shape {matrix.shape}, "
                "expected a float matrix (n, D)",
            )
        return finite_float32(matrix, self.path, "precomputed features")

    def _read(self, key: str) -> np.ndarray:
        clip = self.utt2clip.get(key, key)
        if self._h5 is not None:
            try:
                return read_h5(self._h5, clip)
            except KeyError:
                reason = f"{clip} is not in the precomputed features"
                raise ClipError(self.path, reason) from None
            except (OSError, ValueError) as error:
                raise ClipError(self.path, f"{clip} is unreadable ({error})") from error
        value = self._table.get(key) or self._table.get(clip)
        if value is None:
            raise ClipError(self.path, f"{key} is not in the precomputed features")
        parse_ref(value)  # a command ends the run: it is not a fault of this clip
        try:
            return load_matrix(value)
        except InputError as error:
            raise ClipError(self.path, f"unreadable: {error}") from error
