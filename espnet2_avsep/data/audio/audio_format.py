"""Every clip's sound as mono 16-bit PCM at one sampling rate."""

import logging
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from espnet2_avsep.data.audio.audio_io import load_audio, write_audio
from espnet2_avsep.data.records.content import (
    Content,
    file_digest,
    is_older,
    write_content,
    written_at,
)
from espnet2_avsep.data.records.journal import (
    Journal,
    remove_leftovers,
    signature,
    unchanged,
)
from espnet2_avsep.data.records.made_from import VERSIONS
from espnet2_avsep.data.records.output_folder import refuse_foreign
from espnet2_avsep.data.records.progress import Progress
from espnet2_avsep.data.tables.clip_id import check_id, file_stem
from espnet2_avsep.data.tables.scp import (
    PathLike,
    Skipped,
    write_scp,
    write_skipped,
)
from espnet2_avsep.data.tables.table_entry import read_sources
from espnet2_avsep.errors import InputError, clear_disk_errors
from espnet2_avsep.media.container import ClipError

STAGE = "audio"
FORMATS = ("wav", "flac")


class AudioStore:
    """Formatted files of many clips, and the journal of those that are finished.

    Args:
        folder: Gets data/<clip>.<format> and format_audio.journal. With another rate or
            format than last time all begins anew.
        fs: Sampling rate in Hz.
        audio_format: "wav" or "flac".
        audio_stream: Which audio stream of files with several, from 1; None: the first
            with the default flag that can be decoded.

    Attributes:
        clipped: Samples that exceeded full scale in the files written.

    Raises:
        InputError: another process works here, an invalid rate, or a folder with a
            wav.scp that stage 3 has not written.
    """

    def __init__(
        self,
        folder: PathLike,
        fs: int,
        audio_format: str = "wav",
        audio_stream: Optional[int] = None,
    ):
        if fs <= 0:
            raise InputError(f"--fs {fs}: expected a sampling rate in Hz, above 0.")
        self.folder = Path(folder)
        self.fs = fs
        self.audio_format = audio_format
        self.audio_stream = audio_stream
        self.clipped = 0
        self._tables_are_gone = False
        # clip -> its source as it was before it was read
        self._sources: Dict[str, List[Any]] = {}
        journal = self.folder / "format_audio.journal"
        self._written = written_at(journal)
        is_own = self._written != (0, 0)
        if not is_own:
            refuse_foreign(self.folder / "wav.scp", "by stage 3")
        settings: Dict[str, Any] = {"fs": fs, "format": audio_format}
        if audio_stream is not None:
            settings["audio_stream"] = audio_stream
        self._journal = Journal(journal, settings, VERSIONS[3])
        remove_leftovers(self.folder)
        remove_leftovers(self.folder / "data")
        if is_own and not self._journal.entries:
            # Of another format, which no table lists any more.
            for ending in FORMATS:
                for path in (self.folder / "data").glob(f"*.{ending}"):
                    path.unlink()

    def path(self, key: str) -> Path:
        """Return where a clip's file is, or will be."""
        return self.folder / "data" / f"{file_stem(key)}.{self.audio_format}"

    def is_finished(self, key: str, source: str) -> bool:
        """Return whether a clip's file is there and still that of its source."""
        entry = self._journal.entries.get(key, {})
        self._sources[key] = signature(source)
        if not unchanged(entry.get("source"), self._sources[key]):
            return False
        path = self.path(key)
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
        return (
            is_older(path.stat(), self._written)
            or entry.get("digest") is None  # of an earlier version
            or entry["digest"] == file_digest(path)
        )

    def remove_tables(self) -> None:
        """Remove the tables of an earlier run: work on the files goes on."""
        for table in ("wav.scp", "wav.content", "utt2num_samples"):
            (self.folder / table).unlink(missing_ok=True)
        self._tables_are_gone = True

    def write(self, key: str, audio: np.ndarray, source: str) -> None:
        """Write a clip's file; it is on the disk, and listed, when this returns.

        Args:
            key: The clip's id.
            audio: (L,), at the store's rate.
            source: What it was made from.

        Raises:
            InputError: disk full.
        """
        if not self._tables_are_gone:
            self.remove_tables()
        path = self.path(key)
        self.clipped += write_audio(path, audio, self.fs)
        with clear_disk_errors(self._journal.path):
            self._journal.add(
                key,
                source=self._sources.get(key) or signature(source),
                num_samples=len(audio),
                bytes=path.stat().st_size,
                digest=file_digest(path),
            )

    def write_tables(self, keys: List[str]) -> None:
        """Write utt2num_samples, wav.content and, last, wav.scp.

        Args:
            keys: Finished clips.
        """
        entries = {key: self._journal.entries[key] for key in keys}
        write_scp(
            self.folder / "utt2num_samples",
            {key: entry["num_samples"] for key, entry in entries.items()},
        )
        table = {key: str(self.path(key)) for key in keys}
        scp = self.folder / "wav.scp"
        write_content(
            scp,
            {
                key: Content(
                    entry.get("digest") or file_digest(table[key]),
                    entry["bytes"],
                    entry["source"],
                )
                for key, entry in entries.items()
            },
        )
        write_scp(scp, table)

    def __enter__(self) -> "AudioStore":
        return self

    def __exit__(self, *_: Any) -> None:
        self._journal.close()


def format_audio(
    wav_scp: PathLike,
    output_dir: PathLike,
    fs: int,
    audio_format: str = "wav",
    allow_empty: bool = False,
    allow_pipes: bool = False,
    audio_stream: Optional[int] = None,
) -> None:
    """Write the sound of every clip, with tables; finished files of a cut-off run stay.

    Args:
        wav_scp: clip -> media file, or with ``allow_pipes`` a command.
        output_dir: Gets data/<clip>.<format>, utt2num_samples, skipped.tsv,
            wav.content and, last, wav.scp.
        fs: Sampling rate in Hz.
        audio_format: "wav" or "flac".
        allow_empty: Whether empty tables are fine where no clip can be used (for one
            job of several).
        allow_pipes: See :func:`~espnet2_avsep.data.tables.table_entry.read_sources`.
        audio_stream: As for :class:`AudioStore`.

    Raises:
        InputError: no clip can be used, the disk is full, another process works here.
    """
    sources = read_sources(wav_scp, allow_pipes)
    folder = Path(output_dir)
    for key in sources:
        check_id(wav_scp, key)
    with AudioStore(folder, fs, audio_format, audio_stream) as store:
        todo = [k for k, source in sources.items() if not store.is_finished(k, source)]
        logging.info(
            "%d clips, of which %d are finished already",
            len(sources),
            len(sources) - len(todo),
        )
        if todo:
            store.remove_tables()
        skipped: List[Skipped] = []
        progress = Progress(len(todo))
        for key in todo:
            try:
                audio = load_audio(sources[key], fs, audio_stream)
            except ClipError as error:
                logging.warning("%s is left out: %s", key, error)
                skipped.append(Skipped(key, STAGE, error.reason))
            else:
                store.write(key, audio, sources[key])
            progress.step()
        left_out = {row.key for row in skipped}
        kept = [key for key in sources if key not in left_out]
        with clear_disk_errors(folder / "wav.scp"):
            write_skipped(folder / "skipped.tsv", skipped)
            if not kept and not allow_empty:
                raise InputError(
                    f"{wav_scp}: none of its {len(sources)} clips has sound that can "
                    f"be used; {skipped[0].key}: {skipped[0].reason}. All reasons: "
                    f"{folder / 'skipped.tsv'}."
                )
            store.write_tables(kept)
    logging.info(
        "%d clips at %d Hz in %s, %d left out (%s), %d samples clipped",
        len(kept),
        fs,
        folder / "wav.scp",
        len(skipped),
        folder / "skipped.tsv",
        store.clipped,
    )
