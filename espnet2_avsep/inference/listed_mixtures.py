"""What the commands that separate listed mixtures share: tables, finished tracks."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.data.conditions import LABELS, needed
from espnet2_avsep.data.tables.clip_id import file_stem
from espnet2_avsep.errors import InputError
from espnet2_avsep.lean_imports import import_lean_torch

if TYPE_CHECKING:
    import numpy as np
    import torch

    from espnet2_avsep.cli.shared_options import TrainedModel
    from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
    from espnet2_avsep.data.records.made_from import Record
    from espnet2_avsep.inference.separate import SeparateAV

Tables = Mapping[str, Mapping[str, str]]
# Mixture, its tracks (N, L), sampling rate in Hz.
Separated = Tuple[str, "np.ndarray", int]
MOTION_CHANGES = ("frozen", "swapped")


@dataclass(kw_only=True)
class ListedOptions(Log):
    """What a command takes that separates listed mixtures."""

    output_dir: str = option(..., "where tracks are written")
    key_file: Optional[str] = option(None, "list of the mixtures to separate")
    num_threads: Optional[int] = option(None, "CPU threads", least=0)


def read_tables(
    triples: Sequence[str], reference: str
) -> Tuple[Dict[str, Dict[str, str]], int]:
    """Read the tables of ``path,name,type`` triples.

    Args:
        triples: As they are given.
        reference: Name of the tables of each source, without its number.

    Returns:
        Name -> table, and the number of sources.

    Raises:
        InputError: a triple is malformed, a name is missing or comes twice, tables
            disagree.
    """
    from espnet2_avsep.data.tables.key_check import check_sources
    from espnet2_avsep.data.tables.scp import read_scp

    tables: Dict[str, Dict[str, str]] = {}
    for triple in triples:
        fields = triple.split(",")
        if len(fields) != 3:
            raise InputError(
                f"--data_path_and_name_and_type {triple}: expected path,name,type."
            )
        if fields[1] in tables:
            raise InputError(
                f"--data_path_and_name_and_type {triple}: the name {fields[1]} comes "
                "twice."
            )
        tables[fields[1]] = read_scp(fields[0])
    for name in ("speech_mix", f"{reference}1"):
        if name not in tables:
            raise InputError(
                f"--data_path_and_name_and_type: {name} is missing; given: "
                f"{', '.join(tables)}."
            )
    check_sources(tables)
    keys = set(tables["speech_mix"])
    for name, table in tables.items():
        wrong = sorted(keys ^ set(table))
        if wrong:
            raise InputError(
                f"speech_mix and {name} do not list the same mixtures: {len(wrong)} "
                f"are in only one of them, the first is {wrong[0]}. Run stage 4 "
                "again."
            )
    return tables, sum(name.startswith(reference) for name in tables)


def table_paths(triples: Sequence[str]) -> Dict[str, str]:
    """Return name -> table of ``path,name,type`` triples."""
    return {name: path for path, name, _ in (t.split(",") for t in triples)}


def mixtures_of(args: Any) -> Path:
    """The list that a set was made from: --mixtures, or beside speech_mix's table."""
    if args.mixtures is not None:
        return Path(args.mixtures)
    mix = next(t for t in args.data_path_and_name_and_type if "speech_mix" in t)
    folder = Path(mix.split(",")[0]).parent
    real = folder / "real_mixtures.tsv"
    return real if real.is_file() else folder / "mixtures.tsv"


def load_separator(args: "TrainedModel", **options: Any) -> "SeparateAV":
    """Load the model that a command names, on the device that it names.

    Raises:
        InputError: there is no such model, or no GPU.
    """
    import torch

    from espnet2_avsep.inference.separate import SeparateAV

    if args.ngpu and not torch.cuda.is_available():
        raise InputError("--ngpu 1: no CUDA device is available; give --ngpu 0.")
    device = "cuda" if args.ngpu else "cpu"
    return SeparateAV(args.train_config, args.model_file, device=device, **options)


def mixture_dataset(
    separate: "SeparateAV",
    tables: Tables,
    keys: Sequence[str],
    num_sources: int,
    mixtures: Path,
) -> "FixedMixtureDataset":
    """Mixtures with all that a trained separator needs of their sources.

    Args:
        separate: The separator.
        tables: What read_tables returned.
        keys: Which mixtures.
        num_sources: Number of sources N.
        mixtures: The list, for the classes of the sources where they are needed.

    Raises:
        InputError: a condition is missing, or a class that it does not know.
    """
    from espnet2_avsep.data.mixing.fixed_dataset import FixedMixtureDataset
    from espnet2_avsep.data.mixing.mixture_table import read_classes
    from espnet2_avsep.data.tables.class_labels import number_sources

    separator = separate.model.separator
    numbers = range(1, num_sources + 1)
    names = ["speech_mix", *(f"visual_ref{n}" for n in numbers)]
    for condition in needed(separator):
        if condition.row_size is None:
            continue
        names += [condition.reference(n) for n in numbers]
        missing = [name for name in names if name not in tables]
        if missing:
            raise InputError(
                f"--data_path_and_name_and_type: {missing[0]} is missing; this model "
                f"needs the {condition.what} of every source: {condition.remedy}. "
                f"Given: {', '.join(tables)}."
            )
    chosen: Dict[str, Any] = {
        name: {key: tables[name][key] for key in keys} for name in names
    }
    if LABELS.is_needed(separator):
        classes = read_classes(mixtures)
        missing = [key for key in keys if key not in classes]
        if missing:
            raise InputError(
                f"{mixtures}: does not list {missing[0]}; this model needs the classes "
                "of the sources. Give --mixtures, the list that the set was made from."
            )
        wanted = {key: classes[key] for key in keys}
        if "class_ref1" in tables:  # of the pictures of other sources
            wanted = {
                key: [tables[f"class_ref{n}"][key] for n in numbers] for key in keys
            }
        chosen.update(LABELS.tables(number_sources(wanted, separate.classes)))
    return FixedMixtureDataset(chosen, motion_steps=separate.motion_steps)


def change_motion(
    conditions: Dict[str, "torch.Tensor"], change: str, flow: bool
) -> Dict[str, "torch.Tensor"]:
    """Freeze or swap the motion of the sources of a batch.

    Args:
        conditions: What the separator is told of the sources.
        change: One of MOTION_CHANGES.
        flow: Whether the motion is optical flow.

    Returns:
        The conditions with other motion.

    Raises:
        InputError: the model does not use motion.
    """
    if "motion" not in conditions:
        raise InputError(
            f"--change_motion {change}: this model does not use motion features; leave "
            "the option out."
        )
    changed = dict(conditions)
    motion = conditions["motion"]  # (B, N, S, D)
    if change == "frozen":
        changed["motion"] = motion * 0 if flow else motion[:, :, :1].expand_as(motion)
        return changed
    for name in ("motion", "motion_lengths"):
        if name in conditions:
            changed[name] = conditions[name].roll(-1, dims=1)
    return changed


def separate_listed(
    args: ListedOptions,
    tables: Tables,
    num_sources: int,
    record: "Record",
    separate: Callable[[List[str]], Iterable[Separated]],
) -> None:
    """Separate the mixtures whose tracks are not there yet, then write the tables.

    Args:
        args: The command line; output_dir gets wavs/spk{n}/, made_from.json and, last,
            spk{n}.content and spk{n}.scp.
        tables: What read_tables returned.
        num_sources: Number of sources N.
        record: What the tracks depend on (data/records/made_from.py); where it has
            changed, earlier tracks are removed.
        separate: Separates some mixtures, in any order.

    Raises:
        InputError: the key file names a mixture that is not in the tables; another
            separation writes to the folder.
    """
    from espnet2_avsep.data.audio.wav_writer import write_float_wav
    from espnet2_avsep.data.records.content import content_of, write_content
    from espnet2_avsep.data.records.lock import lock_folder
    from espnet2_avsep.data.tables.scp import write_scp

    output_dir = Path(args.output_dir)
    keys = _chosen_keys(tables, args.key_file)
    with lock_folder(output_dir, "a separation"):
        _remove_other_tracks(output_dir, num_sources, record)
        todo, done = pending(keys, output_dir, num_sources)
        if done:
            logging.info(f"{len(done)} of {len(keys)} mixtures are separated already")
        if todo:
            import_lean_torch()
            if args.num_threads:
                import torch

                torch.set_num_threads(args.num_threads)
            for key, sources, rate in separate(todo):
                for n, track in enumerate(sources, 1):
                    write_float_wav(track_path(output_dir, key, n), track, rate)
        for n in range(1, num_sources + 1):
            scp = output_dir / f"spk{n}.scp"
            tracks = {key: str(track_path(output_dir, key, n)) for key in keys}
            write_content(scp, content_of(tracks, scp, whole=True))
            write_scp(scp, tracks)


def _chosen_keys(tables: Tables, key_file: Optional[str]) -> List[str]:
    """Return the mixtures to separate; those of the key file, where there is one."""
    from espnet2_avsep.data.tables.clip_id import check_id
    from espnet2_avsep.data.tables.scp import read_scp

    keys = list(tables["speech_mix"])
    for key in keys:
        check_id("speech_mix", key)
    if not key_file:
        return keys
    wanted = read_scp(key_file)
    unknown = sorted(set(wanted) - set(keys))
    if unknown:
        raise InputError(
            f"{key_file}: {unknown[0]} is not among the mixtures of speech_mix."
        )
    return [key for key in keys if key in wanted]


def _remove_other_tracks(output_dir: Path, num_sources: int, record: "Record") -> None:
    """Remove tracks that were made from anything else, and write the record.

    Raises:
        InputError: the folder holds tables that no separation has written.
    """
    from espnet2_avsep.data.records.content import content_path
    from espnet2_avsep.data.records.made_from import (
        check_folder,
        differences,
        read_record,
        write_record,
    )
    from espnet2_avsep.data.records.output_folder import refuse_foreign

    check_folder(output_dir, 7)
    before = read_record(output_dir)
    table = output_dir / "spk1.scp"
    wavs = output_dir / "wavs"
    if before is None and not (wavs / "spk1").is_dir():
        refuse_foreign(table, "by a separation")
    changed = ["it has no record"] if before is None else differences(before, record)
    if not changed:
        return
    if wavs.exists():
        logging.info("earlier tracks are made again: %s", "; ".join(changed))
    # The record last: without it, all is made again.
    for n in range(1, num_sources + 1):
        scp = output_dir / f"spk{n}.scp"
        scp.unlink(missing_ok=True)
        content_path(scp).unlink(missing_ok=True)
    for folder in wavs.glob("spk[0-9]*"):  # what else is there is not ours
        shutil.rmtree(folder, ignore_errors=True)
    write_record(output_dir, record)


def pending(
    keys: Sequence[str], output_dir: Path, num_sources: int
) -> Tuple[List[str], List[str]]:
    """Split keys into those still to be separated and those already on disk.

    A track that has been changed since it was written is to be separated again.
    """
    from espnet2_avsep.data.records.content import changed_keys

    missing: Set[str] = set()
    for n in range(1, num_sources + 1):
        tracks = {key: str(track_path(output_dir, key, n)) for key in keys}
        missing.update(key for key, path in tracks.items() if not Path(path).exists())
        missing.update(changed_keys(output_dir / f"spk{n}.scp", tracks))
    todo = [key for key in keys if key in missing]
    return todo, [key for key in keys if key not in missing]


def track_path(output_dir: Path, key: str, source: int) -> Path:
    """Where the track of a source is written."""
    return output_dir / "wavs" / f"spk{source}" / f"{file_stem(key)}.wav"
