#!/usr/bin/env python3
"""Separate listed mixtures with a trained model (stage 7)."""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.listed_mixtures import (
    MOTION_CHANGES,
    Tables,
    change_motion,
    mixture_dataset,
    mixtures_of,
    read_tables,
    separate_listed,
    table_paths,
    track_path,
)


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
        help="path,name,type; names are speech_mix, visual_ref{n}, and motion_ref{n} "
        "for models that need motion features",
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
        "--mixture_consistency",
        type=str2bool,
        default=False,
        help="share what the tracks leave of the mixture equally among them, so that "
        "they add up to it",
    )
    parser.add_argument(
        "--stop_db",
        type=float,
        help="of models that take one source after the other (mp_net): sources are "
        "silent once what is left of the mixture is below this level of it, in dB",
    )
    parser.add_argument(
        "--shuffle_visual",
        choices=("no", "clip", "class"),
        default="no",
        help="give each source the visual input of another one, to see how much it "
        "matters: of another clip of the set, or of a class that is not in the mixture "
        "(and its class, for models that are told classes)",
    )
    parser.add_argument("--shuffle_seed", type=int, default=0)
    parser.add_argument(
        "--change_motion",
        choices=("no", *MOTION_CHANGES),
        default="no",
        help="see how much motion matters, for models that need motion features: "
        "frozen, nothing moves (no optical flow; other features stay as they are in "
        "the first step), or swapped, each source gets the motion of the next source "
        "of its mixture",
    )
    parser.add_argument(
        "--mixtures",
        help="mixtures.tsv, for --shuffle_visual, and for the sources' classes, which "
        "some models need (default: beside speech_mix's table)",
    )
    parser.add_argument("--fs", type=int, help="expected sampling rate; checked")
    parser.add_argument("--num_threads", type=int, help="CPU threads")
    parser.add_argument("--log_level", default="INFO")
    return parser


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

    tables = read_tables(
        args.data_path_and_name_and_type, ("speech_mix", "visual_ref1")
    )
    num_sources = sum(name.startswith("visual_ref") for name in tables)
    if args.shuffle_visual != "no":
        from espnet2_avsep.data.mixing.visual_shuffle import shuffle_visual

        tables = shuffle_visual(
            tables, mixtures_of(args), args.shuffle_visual, args.shuffle_seed
        )
    output_dir = Path(args.output_dir)
    separate_listed(
        tables,
        args.key_file,
        output_dir,
        num_sources,
        _record(args),
        lambda keys: _separate(args, keys, tables, num_sources, output_dir),
    )


# To be raised when the same inputs give other tracks.
VERSION = 1


def _record(args: argparse.Namespace) -> Dict[str, Any]:
    """What the tracks depend on, so that a second run knows whether to keep them."""
    from espnet2_avsep.data.records.made_from import make_record

    files = {"model": args.model_file, "training config": args.train_config}
    for path in files.values():
        if not Path(path).is_file():
            raise InputError(
                f"{path}: no such file. Train first (stage 6), or give another "
                "--model_file and --train_config."
            )
    mixtures = mixtures_of(args)
    if mixtures.is_file():
        files["mixtures"] = str(mixtures)
    options = ("binary_mask", "dtype", "shuffle_visual", "shuffle_seed", "threshold")
    return make_record(
        7,
        table_paths(args.data_path_and_name_and_type),
        files,
        {
            **{name: getattr(args, name) for name in options},
            **({} if args.stop_db is None else {"stop_db": args.stop_db}),
            **({"mixture_consistency": True} if args.mixture_consistency else {}),
            # Before, the classes that some systems are told were not swapped.
            **({"swapped_classes": True} if args.shuffle_visual != "no" else {}),
            **({"motion": args.change_motion} if args.change_motion != "no" else {}),
        },
        VERSION,
    )


def _separate(
    args: argparse.Namespace,
    keys: List[str],
    tables: Tables,
    num_sources: int,
    output_dir: Path,
) -> None:
    import torch
    from tqdm import tqdm

    from espnet2_avsep.data.audio.wav_writer import write_float_wav
    from espnet2_avsep.data.collate import collate
    from espnet2_avsep.data.segment_reader import check_sample_rate
    from espnet2_avsep.inference.separate import SeparateAV

    if args.ngpu and not torch.cuda.is_available():
        raise InputError("--ngpu 1: no CUDA device is available; give --ngpu 0.")
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    separate = SeparateAV(
        args.train_config,
        args.model_file,
        device="cuda" if args.ngpu else "cpu",
        dtype=args.dtype,
        binary_mask=args.binary_mask,
        threshold=args.threshold,
        stop_db=args.stop_db,
        mixture_consistency=args.mixture_consistency,
    )
    if args.fs is not None and args.fs != separate.sample_rate:
        raise InputError(
            f"--fs {args.fs}: the model was trained at {separate.sample_rate} Hz."
        )
    dataset = mixture_dataset(separate, tables, keys, num_sources, mixtures_of(args))
    check_sample_rate(tables["speech_mix"][keys[0]], separate.sample_rate)
    batches = [
        range(i, min(i + args.batch_size, len(dataset)))
        for i in range(0, len(dataset), args.batch_size)
    ]
    for indices in tqdm(batches, unit="batch", mininterval=10, desc="separate"):
        names_of_batch, batch = collate([dataset[i] for i in indices])
        visual, conditions = separate.model.source_inputs(batch)
        if args.change_motion != "no":
            flow = separate.model.separator.needs_flow
            conditions = change_motion(conditions, args.change_motion, flow)
        tracks = separate.separate_batch(batch["speech_mix"], visual, **conditions)
        tracks = tracks.cpu().numpy()
        for key, sources in zip(names_of_batch, tracks, strict=True):
            for n, track in enumerate(sources, 1):
                path = track_path(output_dir, key, n)
                write_float_wav(path, track, separate.sample_rate)


if __name__ == "__main__":
    sys.exit(main())
