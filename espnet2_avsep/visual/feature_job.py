"""Features of all clips of a table, written resumably with what was left out."""

import logging
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np

from espnet2_avsep.cli.feature_options import ClipTable
from espnet2_avsep.data.features import FeatureWriter
from espnet2_avsep.data.frame_store import PackedFrames
from espnet2_avsep.data.records.journal import remove_leftovers, unchanged
from espnet2_avsep.data.records.progress import Progress
from espnet2_avsep.data.tables.scp import (
    PathLike,
    Skipped,
    read_scp,
    write_skipped,
)
from espnet2_avsep.data.tables.table_entry import read_sources
from espnet2_avsep.data.tables.yaml_file import write_yaml
from espnet2_avsep.errors import InputError, clear_disk_errors
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.visual.boxes.box_source import BoxSource
from espnet2_avsep.visual.boxes.crop import write_box_table

Result = Tuple[str, Union[np.ndarray, PackedFrames, ClipError]]
# More rows than this of one clip (days of video) speak of a broken header.
MAX_ROWS = 10**6
# Makes the features of some clips and writes <name>_info.yaml.
Maker = Callable[[List[str], FeatureWriter], Iterator[Result]]


def run_feature_job(
    table: PathLike,
    sources: Mapping[str, Any],
    folder: PathLike,
    settings: Dict[str, Any],
    results: Maker,
    allow_empty: bool = False,
    name: str = "visual",
    what: str = "pictures",
    boxes: Optional[BoxSource] = None,
) -> None:
    """Write what is not finished yet, then the tables.

    Args:
        table: Where the clips are listed, for messages.
        sources: clip -> what tells whether it is still the same.
        folder: Gets <name>.ark, <name>_shape, <name>_skipped.tsv, <name>_info.yaml and,
            last, <name>.scp.
        settings: What decides about the features, see :class:`FeatureWriter`.
        results: Makes the features.
        allow_empty: Whether empty tables are fine where no clip can be used.
        name: Stem of the files, and the stage in the table of clips left out.
        what: What a usable clip has, for messages.
        boxes: Where the pictures were cut out is written to <name>_boxes.tsv, too.

    Raises:
        InputError: no clip can be used, disk full, another process works here.
    """
    folder = Path(folder)
    with FeatureWriter(folder, settings, name) as writer:
        remove_leftovers(folder)
        todo = [
            key
            for key, source in sources.items()
            if not unchanged(writer.entries.get(key, {}).get("source"), source)
        ]
        logging.info(
            "%d clips, of which %d are finished already",
            len(sources),
            len(sources) - len(todo),
        )
        skipped: List[Skipped] = []
        if todo or not (folder / f"{name}_info.yaml").exists():
            writer.remove_tables()
            # Without it, a run that was cut off after the last clip begins here again.
            (folder / f"{name}_info.yaml").unlink(missing_ok=True)
            progress = Progress(len(todo))
            for key, result in results(todo, writer):
                if isinstance(result, ClipError):
                    logging.warning("%s is left out: %s", key, result)
                    skipped.append(Skipped(key, name, result.reason))
                else:
                    notes = boxes.notes(key) if boxes is not None else None
                    writer.write(key, result, sources[key], notes)
                progress.step()
        left_out = {row.key for row in skipped}
        kept = [key for key in sources if key not in left_out]
        with clear_disk_errors(folder):
            write_skipped(folder / f"{name}_skipped.tsv", skipped)
        if not kept and not allow_empty:
            raise InputError(
                f"{table}: none of its {len(sources)} clips has {what} that can "
                f"be used; {skipped[0].key}: {skipped[0].reason}. All reasons: "
                f"{folder / f'{name}_skipped.tsv'}."
            )
        if boxes is not None:
            table = folder / f"{name}_boxes.tsv"
            with clear_disk_errors(table):
                notes = {key: writer.entries[key]["notes"] for key in kept}
                counts = write_box_table(table, notes)
            logging.info("rows by the source of their box: %s (%s)", counts, table)
        writer.write_tables(kept)
        logging.info(
            "%d clips, %d rows in %s, %d left out (%s)",
            len(kept),
            sum(writer.entries[key]["shape"][0] for key in kept),
            folder / f"{name}.scp",
            len(skipped),
            folder / f"{name}_skipped.tsv",
        )


def copy_features(
    table: ClipTable,
    read: Callable[[Optional[Dict[str, str]]], Any],
    allow_empty: bool = False,
    name: str = "visual",
    what: str = "pictures",
) -> None:
    """Take features of every clip that were made elsewhere as they are.

    Args:
        table: Its ``utt2clip`` is clip -> category/video_id; the values of its
            ``video_scp`` are not looked at.
        read: utt2clip -> what has ``load(key)``, ``source(key)``, ``settings`` and
            ``info``: PrecomputedFeatures or MotionFiles.
        allow_empty: See :func:`run_feature_job`.
        name: See :func:`run_feature_job`.
        what: See :func:`run_feature_job`.

    Raises:
        InputError: as for :func:`run_feature_job`, or rows of different widths.
    """
    clips = read_scp(table.video_scp)
    files = read(None if table.utt2clip is None else read_scp(table.utt2clip))

    def results(keys: List[str], writer: FeatureWriter) -> Iterator[Result]:
        finished = clips.keys() - keys
        entries = (e for key, e in writer.entries.items() if key in finished)
        width = next((entry["shape"][1] for entry in entries), None)
        for key, matrix in each_clip(keys, files.load):
            if not isinstance(matrix, ClipError):
                width = width or matrix.shape[1]
                if matrix.shape[1] != width:
                    raise InputError(
                        f"{next(iter(files.info.values()))}: the rows of {key} have "
                        f"{matrix.shape[1]} values, those of the clips before {width}. "
                        "All clips need features of one network: make them again, or "
                        "give those that belong to this network."
                    )
            yield key, matrix
        info = {"encoder": "precomputed", **files.info, "dim": width}
        write_info(writer.folder / f"{name}_info.yaml", info)

    sources = {key: files.source(key) for key in clips}
    run_feature_job(
        *(table.video_scp, sources, table.output_dir, files.settings, results),
        *(allow_empty, name, what),
    )


def read_clips(
    video_scp: PathLike, wav_scp: Optional[PathLike], allow_pipes: bool = False
) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Read clip -> video and clip -> sound; without wav_scp the video's own.

    Sounds may be commands with ``allow_pipes``, videos never.

    Raises:
        InputError: a table cannot be read, or a clip has no sound.
    """
    videos = read_sources(video_scp)
    if wav_scp is None:
        return videos, videos
    return videos, _matching(read_sources(wav_scp, allow_pipes), videos, wav_scp)


def _matching(
    wavs: Dict[str, str], videos: Dict[str, str], wav_scp: PathLike
) -> Dict[str, str]:
    missing = [key for key in videos if key not in wavs]
    if missing:
        raise InputError(
            f"{wav_scp}: has no line for {missing[0]} (and {len(missing) - 1} other "
            "clips of --video_scp); both tables must list the same clips "
            "(utils/fix_data_dir.sh makes them agree)."
        )
    return wavs


def each_clip(
    keys: List[str], load: Callable[[str], Union[np.ndarray, PackedFrames]]
) -> Iterator[Result]:
    """Yield the features of each clip, or the error of one that cannot be used."""
    for key in keys:
        try:
            yield key, load(key)
        except ClipError as error:
            yield key, error


def write_info(path: PathLike, info: Dict[str, Any]) -> None:
    """Write what features were made with, as YAML."""
    with clear_disk_errors(path):
        write_yaml(path, info)
