"""The CLAP embeddings of a set of recordings as a Kaldi ark."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional

from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.cli.shared_options import Device
from espnet2_avsep.device import choose_device
from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from espnet2_avsep.teacher.clap_teacher import ClapTeacher


@dataclass(kw_only=True)
class TeacherOptions(Device, Log):
    """What to do, and how."""

    wav_scp: str = option(..., "table 'utt wav' of mono wav or flac files")
    output_dir: str = option(..., "folder of teacher.ark and teacher.scp")
    checkpoint: str = option(
        ..., "path, published name (630k-audioset-best.pt, ...) or 'random'"
    )
    model: str = option("HTSAT-tiny", "HTSAT-tiny, HTSAT-base or HTSAT-large")
    enable_fusion: bool = option(False, "a checkpoint with feature fusion")
    seed: int = option(0, "seed of the weights of 'random'", least=0)
    dtype: str = option("float32", "float32 or bfloat16")
    checksum: Optional[str] = option(None, "SHA-256 that the checkpoint must have")
    cache_dir: Optional[str] = option(None, "folder of downloaded checkpoints")
    batch_size: int = option(16, "clips that are embedded together", least=1)


def extract_teacher(args: TeacherOptions) -> None:
    """Write the ark and its table.

    Raises:
        InputError: a recording or the checkpoint cannot be read, another process works
            in the folder.
    """
    from espnet2_avsep.data.records.lock import lock_folder
    from espnet2_avsep.data.records.made_from import TEACHER
    from espnet2_avsep.data.tables.scp import read_scp

    table = read_scp(args.wav_scp)
    _check_audio(args.wav_scp, table)

    from espnet2_avsep.teacher.clap_teacher import ClapTeacher

    device = choose_device(args.device)
    teacher = ClapTeacher(
        args.checkpoint,
        model=args.model,
        enable_fusion=args.enable_fusion,
        seed=args.seed,
        dtype=args.dtype,
        checksum=args.checksum,
        cache_dir=args.cache_dir,
    ).to(device)
    with lock_folder(args.output_dir, TEACHER):
        _write(args, table, teacher, device)


def _write(
    args: TeacherOptions,
    table: Dict[str, str],
    teacher: "ClapTeacher",
    device: "torch.device",
) -> None:
    """Write what is not finished yet; the folder is locked."""
    import logging

    import yaml

    from espnet2_avsep.data.records.made_from import (
        TEACHER,
        VERSIONS,
        make_record,
        write_record,
    )
    from espnet2_avsep.data.tables.scp import atomic_write, write_scp
    from espnet2_avsep.precision import usable_dtype

    output = Path(args.output_dir)
    ark, scp = output / "teacher.ark", output / "teacher.scp"
    info_file = output / "teacher_info.yaml"
    record = make_record(TEACHER, {"sound": args.wav_scp}, {}, {})
    version = VERSIONS[TEACHER]
    info = yaml.safe_dump(
        {
            "teacher": teacher.description,
            "enable_fusion": args.enable_fusion,
            "dtype": str(usable_dtype(args.dtype, device)).removeprefix("torch."),
            "dim": teacher.output_dim,
            "batch_size": args.batch_size,
            "device": device.type,
            "sound": record["inputs"]["sound"]["digest"],
            **({"version": version} if version > 1 else {}),
        },
        sort_keys=False,
    )
    if not info_file.is_file() or info_file.read_text(encoding="utf-8") != info:
        for stale in (scp, ark):
            stale.unlink(missing_ok=True)
        with atomic_write(info_file) as f:
            f.write(info)
    keys = list(table)
    finished = _cut_to_whole_batches(ark, keys, teacher.output_dim, args.batch_size)
    if scp.is_file() and finished == len(keys):
        write_record(scp, record)
        logging.info(f"{scp}: is finished already")
        return

    scp.unlink(missing_ok=True)
    if finished:
        logging.info(f"{ark}: going on after {finished} of {len(keys)} clips")
    with ark.open("ab") as f:
        for start in range(finished, len(keys), args.batch_size):
            batch = keys[start : start + args.batch_size]
            embeddings = _embed(teacher, {key: table[key] for key in batch}, device)
            for key, embedding in zip(batch, embeddings, strict=True):
                f.write(_record(key, embedding))
            f.flush()
            logging.info(f"{start + len(batch)} of {len(keys)} clips")
        os.fsync(f.fileno())

    offsets, offset = {}, 0
    for key in keys:
        head = len(key.encode()) + 1
        offsets[key] = f"{ark}:{offset + head}"
        offset += len(_empty_record(key, teacher.output_dim))
    write_scp(scp, offsets)
    write_record(scp, record)
    logging.info(f"{scp}: {len(keys)} embeddings of width {teacher.output_dim}")


def _check_audio(wav_scp: str, table: Dict[str, str]) -> None:
    """Read every header first, so that a bad file is named at once, not after hours."""
    import soundfile

    bad: List[str] = []
    for key, path in table.items():
        try:
            info = soundfile.info(path)
            if info.frames == 0:
                bad.append(f"{key} ({path}: holds no samples)")
        except (soundfile.SoundFileError, OSError) as error:
            bad.append(f"{key} ({error})")
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise InputError(
            f"{wav_scp}: {len(bad)} of {len(table)} recordings cannot be read: "
            f"{'; '.join(bad[:5])}{more}. Expected are paths of wav or flac files, as "
            "stages 3 and 4 write them."
        )


def _embed(
    teacher: "ClapTeacher", batch: Dict[str, str], device: "torch.device"
) -> "np.ndarray":
    """Embed a batch of files of any lengths and rates: (B, D) float32."""
    import numpy as np
    import soundfile
    import torch

    prepared = []
    for path in batch.values():
        samples, fs = soundfile.read(path, dtype="float32", always_2d=True)
        wav = torch.from_numpy(samples.mean(axis=1))[None].to(device)
        prepared.append(teacher.prepare(wav, fs))
    embeddings = teacher.embed(torch.cat(prepared)).cpu().numpy()
    for (key, path), embedding in zip(batch.items(), embeddings, strict=True):
        if not np.isfinite(embedding).all():
            raise InputError(
                f"{key} ({path}): its embedding is not finite. The recording holds NaN "
                "or infinite samples: leave it out or repair it."
            )
    return embeddings


def _record(key: str, embedding: "np.ndarray") -> bytes:
    """One entry of a Kaldi ark."""
    import kaldiio

    buffer = io.BytesIO()
    kaldiio.save_ark(buffer, {key: embedding})
    return buffer.getvalue()


def _empty_record(key: str, dim: int) -> bytes:
    import numpy as np

    return _record(key, np.zeros(dim, dtype=np.float32))


def _cut_to_whole_batches(ark: Path, keys: List[str], dim: int, batch_size: int) -> int:
    """Cut an unfinished ark after its last whole batch; return the clips left in it.

    Batches then hold the same clips as in an uninterrupted run, and so does the file,
    byte for byte.
    """
    if not ark.is_file():
        return 0
    kept = position = 0
    with ark.open("rb+") as f:
        for number, key in enumerate(keys, 1):
            expected = _empty_record(key, dim)
            head = expected[: -4 * dim]
            found = f.read(len(expected))
            if len(found) < len(expected) or not found.startswith(head):
                break
            if number % batch_size == 0 or number == len(keys):
                kept, position = number, f.tell()
        f.truncate(position)
    return kept
