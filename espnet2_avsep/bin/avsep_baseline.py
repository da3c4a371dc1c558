#!/usr/bin/env python3
"""Separate listed mixtures with a system that is not trained (stage 7)."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from espnet2_avsep.bin.avsep_inference import pending, track_path
from espnet2_avsep.bin.cli import command, setup_logging
from espnet2_avsep.errors import InputError


def get_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Separate listed mixtures with a system that is not trained: ideal "
        "masks, NMF-MFCC, RPCA. Visual inputs are not looked at.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--config", required=True, help="YAML with 'trained: false'")
    parser.add_argument("--output_dir", required=True, help="where tracks are written")
    parser.add_argument(
        "--data_path_and_name_and_type",
        required=True,
        action="append",
        help="path,name,type; names are speech_mix and speech_ref{n}",
    )
    parser.add_argument("--key_file", help="list of the mixtures to separate")
    parser.add_argument(
        "--assignment",
        choices=("order", "oracle"),
        help="which output is which source, where the system does not know: as they "
        "come, or the best order by the references (None: as the config says)",
    )
    parser.add_argument("--fs", type=int, help="sampling rate (None: the config's)")
    parser.add_argument("--num_threads", type=int, help="CPU threads")
    parser.add_argument("--log_level", default="INFO")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Separate; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.bin.avsep_inference import read_tables
    from espnet2_avsep.data.scp import atomic_write, read_scp, write_scp

    tables = read_tables(
        args.data_path_and_name_and_type, ("speech_mix", "speech_ref1")
    )
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
    num_sources = sum(name.startswith("speech_ref") for name in tables)
    output_dir = Path(args.output_dir)
    description = _settings(args)
    settings = output_dir / "settings"
    if settings.exists() and settings.read_text(encoding="utf-8") != description:
        logging.info("settings have changed: earlier tracks are made again")
        for key in keys:
            for n in range(1, num_sources + 1):
                track_path(output_dir, key, n).unlink(missing_ok=True)
    todo, done = pending(keys, output_dir, num_sources)
    if done:
        logging.info(f"{len(done)} of {len(keys)} mixtures are separated already")
    if todo:
        with atomic_write(settings) as f:
            f.write(description)
        _separate(args, todo, tables, num_sources, output_dir)
    for n in range(1, num_sources + 1):
        write_scp(
            output_dir / f"spk{n}.scp",
            {key: track_path(output_dir, key, n) for key in keys},
        )


def _settings(args: argparse.Namespace) -> str:
    """What the tracks depend on, so that a second run knows which ones to keep."""
    import hashlib

    digest = hashlib.sha256()
    for triple in sorted(args.data_path_and_name_and_type):
        digest.update(Path(triple.split(",")[0]).read_bytes())
    config = Path(args.config)
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return (
        f"data {digest.hexdigest()}\nfs {args.fs}\nassignment {args.assignment}\n{text}"
    )


def _separate(
    args: argparse.Namespace,
    keys: List[str],
    tables: Dict[str, Dict[str, str]],
    num_sources: int,
    output_dir: Path,
) -> None:
    import torch
    from tqdm import tqdm

    from espnet2_avsep.data.fixed_dataset import FixedMixtureDataset
    from espnet2_avsep.data.segment_reader import check_sample_rate
    from espnet2_avsep.data.wav_writer import write_float_wav
    from espnet2_avsep.untrained import UntrainedAV

    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    system = UntrainedAV(args.config, args.fs, args.assignment)
    rate = system.model.sample_rate
    names = ["speech_mix"] + [f"speech_ref{n}" for n in range(1, num_sources + 1)]
    dataset = FixedMixtureDataset(
        {name: {key: tables[name][key] for key in keys} for name in names}
    )
    check_sample_rate(tables["speech_mix"][keys[0]], rate)
    for index in tqdm(range(len(dataset)), mininterval=10, desc="separate"):
        key, data = dataset[index]
        waves = {name: torch.from_numpy(data[name]) for name in names}
        reference = torch.stack([waves[name] for name in names[1:]])
        tracks = system.separate_batch(waves["speech_mix"][None], reference[None])[0]
        for n, track in enumerate(tracks.numpy(), 1):
            write_float_wav(track_path(output_dir, key, n), track, rate)


if __name__ == "__main__":
    sys.exit(main())
