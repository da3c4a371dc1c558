"""Every clip's sound as mono 16-bit PCM at one sampling rate."""

import logging
from pathlib import Path
from typing import List

from espnet2_avsep.data.audio_io import clear_disk_errors, load_audio, write_audio
from espnet2_avsep.data.journal import Journal, remove_leftovers, signature
from espnet2_avsep.data.media import ClipError
from espnet2_avsep.data.progress import Progress
from espnet2_avsep.data.scp import (
    PathLike,
    Skipped,
    read_scp,
    write_scp,
    write_skipped,
)
from espnet2_avsep.errors import InputError

STAGE = "audio"


def format_audio(
    wav_scp: PathLike,
    output_dir: PathLike,
    fs: int,
    audio_format: str = "wav",
    allow_empty: bool = False,
) -> None:
    """Write the sound of every clip, with tables; finished files of a cut-off run stay.

    Args:
        wav_scp: clip -> media file or Kaldi pipe.
        output_dir: Gets data/<clip>.<format>, utt2num_samples, skipped.tsv and, last,
            wav.scp.
        fs: Sampling rate in Hz.
        audio_format: "wav" or "flac".
        allow_empty: Whether empty tables are fine where no clip can be used (for one
            job of several).

    Raises:
        InputError: no clip can be used, the disk is full, another process works here.
    """
    if fs <= 0:
        raise InputError(f"--fs {fs}: expected a sampling rate in Hz, above 0.")
    sources = read_scp(wav_scp)
    folder = Path(output_dir)
    for key in sources:
        if "/" in key:
            raise InputError(
                f"{wav_scp}: the key {key!r} cannot be a file's name; keys must be "
                "without '/'."
            )
    with Journal(
        folder / "format_audio.journal", {"fs": fs, "format": audio_format}
    ) as journal:
        remove_leftovers(folder)
        remove_leftovers(folder / "data")
        files = {key: folder / "data" / f"{key}.{audio_format}" for key in sources}
        signatures = {key: signature(source) for key, source in sources.items()}
        todo = []
        for key in sources:
            entry = journal.entries.get(key, {})
            finished = (
                entry.get("source") == signatures[key]
                and files[key].is_file()
                and files[key].stat().st_size == entry["bytes"]
            )
            if not finished:
                todo.append(key)
        logging.info(
            "%d clips, of which %d are finished already",
            len(sources),
            len(sources) - len(todo),
        )
        if todo:
            for table in ("wav.scp", "utt2num_samples"):
                (folder / table).unlink(missing_ok=True)
        skipped: List[Skipped] = []
        clipped = 0
        progress = Progress(len(todo))
        for key in todo:
            try:
                audio = load_audio(sources[key], fs)
            except ClipError as error:
                logging.warning("%s is left out: %s", key, error)
                skipped.append(Skipped(key, STAGE, error.reason))
            else:
                clipped += write_audio(files[key], audio, fs)
                with clear_disk_errors(journal.path):
                    journal.add(
                        key,
                        source=signatures[key],
                        num_samples=len(audio),
                        bytes=files[key].stat().st_size,
                    )
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
            write_scp(
                folder / "utt2num_samples",
                {key: journal.entries[key]["num_samples"] for key in kept},
            )
            write_scp(folder / "wav.scp", {key: str(files[key]) for key in kept})
    logging.info(
        "%d clips at %d Hz in %s, %d left out (%s), %d samples clipped",
        len(kept),
        fs,
        folder / "wav.scp",
        len(skipped),
        folder / "skipped.tsv",
        clipped,
    )
