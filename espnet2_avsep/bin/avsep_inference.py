#!/usr/bin/env python3
"""Separate listed mixtures with a trained model (stage 7)."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from espnet2_avsep.bin.cli import command, setup_logging, str2bool
from espnet2_avsep.errors import InputError


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Separate listed mixtures with a trained model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--train_config", required=True, help="config.yaml of training")
    parser.add_argument("--model_file", required=True, help="weights")
    parser.add_argument("--output_dir", required=True, help="where tracks are written")
    parser.add_argument(
        "--data_path_and_name_and_type",
        required=True,
        action="append",
        help="path,name,type; names are speech_mix and visual_ref{n}",
    )
    parser.add_argument("--key_file", help="list of the mixtures to separate")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--ngpu", type=int, default=0, help="0: CPU, 1: GPU")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument(
        "--binary_mask",
        type=str2bool,
        default=False,
        help="round masks to 0 or 1 (for masks trained with binary cross-entropy)",
    )
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument(
        "--shuffle_visual",
        choices=("no", "clip", "class"),
        default="no",
        help="give each source the visual input of another one, to see how much it "
        "matters: of another clip of the set, or of a class that is not in the mixture",
    )
    parser.add_argument("--shuffle_seed", type=int, default=0)
    parser.add_argument(
        "--mixtures",
        help="mixtures.tsv, for --shuffle_visual (default: beside speech_mix's table)",
    )
    parser.add_argument("--fs", type=int, help="expected sampling rate; checked")
    parser.add_argument("--num_threads", type=int, help="CPU threads")
    parser.add_argument("--log_level", default="INFO")
    return parser


def read_tables(
    triples: Sequence[str], needed: Sequence[str] = ("speech_mix", "visual_ref1")
) -> Dict[str, Dict[str, str]]:
    """Read the tables of ``path,name,type`` triples: name -> table.

    Args:
        triples: As they are given.
        needed: Names that must be there.

    Raises:
        InputError: a triple is malformed, a name is missing, tables disagree.
    """
    from espnet2_avsep.data.scp import read_scp

    tables: Dict[str, Dict[str, str]] = {}
    for triple in triples:
        fields = triple.split(",")
        if len(fields) != 3:
            raise InputError(
                f"--data_path_and_name_and_type {triple}: expected path,name,type."
            )
        tables[fields[1]] = read_scp(fields[0])
    for name in needed:
        if name not in tables:
            raise InputError(
                f"--data_path_and_name_and_type: {name} is missing; given: "
                f"{', '.join(tables)}."
            )
    keys = set(tables["speech_mix"])
    for name, table in tables.items():
        wrong = sorted(keys ^ set(table))
        if wrong:
            raise InputError(
                f"speech_mix and {name} do not list the same mixtures: {len(wrong)} "
                f"stand in one of them alone, the first is {wrong[0]}. Run stage 4 "
                "again."
            )
    return tables


def pending(
    keys: Sequence[str], output_dir: Path, num_sources: int
) -> Tuple[List[str], List[str]]:
    """Split keys into those still to be separated and those already on disk."""
    done = [
        key
        for key in keys
        if all(
            track_path(output_dir, key, n).exists() for n in range(1, num_sources + 1)
        )
    ]
    finished = set(done)
    return [key for key in keys if key not in finished], done


def track_path(output_dir: Path, key: str, source: int) -> Path:
    """Where the track of a source is written."""
    return output_dir / "wavs" / f"spk{source}" / f"{key}.wav"


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Separate; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    if args.batch_size < 1:
        raise InputError(f"--batch_size {args.batch_size}: expected at least 1.")
    if args.ngpu not in (0, 1):
        raise InputError(
            f"--ngpu {args.ngpu}: expected 0 or 1; split over jobs instead."
        )

    from espnet2_avsep.data.scp import read_scp, write_scp

    tables = read_tables(args.data_path_and_name_and_type)
    keys = list(tables["speech_mix"])
    if args.key_file:
        wanted = read_scp(args.key_file)
        unknown = sorted(set(wanted) - set(keys))
        if unknown:
            raise InputError(
                f"{args.key_file}: {unknown[0]} is not among the mixtures of "
                "speech_mix."
            )
        keys = [key for key in keys if key in wanted]
    num_sources = sum(name.startswith("visual_ref") for name in tables)
    if args.shuffle_visual != "no":
        from espnet2_avsep.data.visual_shuffle import shuffle_visual

        path = args.mixtures
        if path is None:
            mix = next(t for t in args.data_path_and_name_and_type if "speech_mix" in t)
            path = Path(mix.split(",")[0]).parent / "mixtures.tsv"
        tables = shuffle_visual(tables, path, args.shuffle_visual, args.shuffle_seed)
    output_dir = Path(args.output_dir)
    settings = output_dir / "settings"
    description = "\n".join(
        f"{name} {value}" for name, value in sorted(_identity(args).items())
    )
    if settings.exists() and settings.read_text(encoding="utf-8") != description + "\n":
        logging.info("model or settings have changed: earlier tracks are made again")
        for key in keys:
            for n in range(1, num_sources + 1):
                track_path(output_dir, key, n).unlink(missing_ok=True)

    todo, done = pending(keys, output_dir, num_sources)
    if done:
        logging.info(f"{len(done)} of {len(keys)} mixtures are separated already")
    if todo:
        from espnet2_avsep.data.scp import atomic_write

        with atomic_write(settings) as f:
            f.write(description + "\n")
        _separate(args, todo, tables, num_sources, output_dir)
    for n in range(1, num_sources + 1):
        write_scp(
            output_dir / f"spk{n}.scp",
            {key: track_path(output_dir, key, n) for key in keys},
        )
    logging.info(f"{len(keys)} mixtures, {num_sources} tracks each: {output_dir}")


def _identity(args: argparse.Namespace) -> Dict[str, str]:
    """What the tracks depend on, so that a second run knows which ones to keep."""
    import hashlib

    model_file = Path(args.model_file)
    if not model_file.is_file():
        raise InputError(
            f"{model_file}: no such file. Train first (stage 6), or give another "
            "--inference_model."
        )
    digest = hashlib.sha256(model_file.read_bytes()).hexdigest()
    data = hashlib.sha256()
    for triple in sorted(args.data_path_and_name_and_type):
        data.update(Path(triple.split(",")[0]).read_bytes())
    return {
        "binary_mask": str(args.binary_mask),
        "data": data.hexdigest(),
        "dtype": args.dtype,
        "model": digest,
        "shuffle_visual": f"{args.shuffle_visual} {args.shuffle_seed}",
        "threshold": str(args.threshold),
    }


def _separate(
    args: argparse.Namespace,
    keys: List[str],
    tables: Dict[str, Dict[str, str]],
    num_sources: int,
    output_dir: Path,
) -> None:
    import torch
    from tqdm import tqdm

    from espnet2_avsep.data.collate import collate
    from espnet2_avsep.data.fixed_dataset import FixedMixtureDataset
    from espnet2_avsep.data.segment_reader import check_sample_rate
    from espnet2_avsep.data.wav_writer import write_float_wav
    from espnet2_avsep.separate import SeparateAV

    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    separate = SeparateAV(
        args.train_config,
        args.model_file,
        device="cuda" if args.ngpu else "cpu",
        dtype=args.dtype,
        binary_mask=args.binary_mask,
        threshold=args.threshold,
    )
    if args.fs is not None and args.fs != separate.sample_rate:
        raise InputError(
            f"--fs {args.fs}: the model was trained at {separate.sample_rate} Hz."
        )
    names = ["speech_mix"] + [f"visual_ref{n}" for n in range(1, num_sources + 1)]
    dataset = FixedMixtureDataset(
        {name: {key: tables[name][key] for key in keys} for name in names}
    )
    check_sample_rate(tables["speech_mix"][keys[0]], separate.sample_rate)
    batches = [
        range(i, min(i + args.batch_size, len(dataset)))
        for i in range(0, len(dataset), args.batch_size)
    ]
    for indices in tqdm(batches, unit="batch", mininterval=10, desc="separate"):
        names_of_batch, batch = collate([dataset[i] for i in indices])
        visual = torch.stack(
            [batch[f"visual_ref{n}"] for n in range(1, num_sources + 1)], dim=1
        )
        tracks = separate.separate_batch(batch["speech_mix"], visual).cpu().numpy()
        for key, sources in zip(names_of_batch, tracks, strict=True):
            for n, track in enumerate(sources, 1):
                path = track_path(output_dir, key, n)
                write_float_wav(path, track, separate.sample_rate)


if __name__ == "__main__":
    sys.exit(main())
