"""The options that commands share which analyse embeddings of single clips."""

import argparse

from espnet2_avsep.errors import InputError

DEFAULT_CLAP = "630k-audioset-best.pt"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name experiments, segments and CLAP."""
    add = parser.add_argument
    add(
        "--experiment",
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="folder of a training, exp/avsep_<tag>; NAME: in the tables (default: the "
        "config's 'system'); repeat",
    )
    add(
        "--model_file",
        help="weights within it (default: valid.si_sdr_i.best.pth, or "
        "valid.loss.best.pth)",
    )
    add("--output_dir", required=True, help="where the files go")
    add(
        "--segment_samples",
        type=int,
        help="length of a segment (default: that of the first training)",
    )
    add(
        "--segments",
        type=int,
        default=1,
        help="segments of a clip, spread evenly, whose embeddings are averaged; 1: the "
        "centre crop, with which the paper tests",
    )
    add(
        "--clap",
        default=DEFAULT_CLAP,
        help="CLAP's checkpoint: a published name, a file, 'random' (untrained), or "
        "'none' to leave CLAP out",
    )
    add(
        "--clap_conf",
        default="{}",
        help="further arguments of the teacher 'clap', as YAML, e.g. "
        "'{model: HTSAT-base}'",
    )
    add("--batch_size", type=int, default=8, help="segments at a time")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add("--resamples", type=int, default=10000, help="of the bootstrap")
    add("--bootstrap_seed", type=int, default=0, help="seed of the bootstrap")
    add("--corpus_note", default="", help="text at the top: what the corpus is")
    add("--log_level", default="INFO", help="verbosity of the log")


def check_options(args: argparse.Namespace) -> None:
    """Raise an InputError for numbers that cannot be."""
    for name, least in [
        ("segments", 1),
        ("batch_size", 1),
        ("resamples", 1),
        ("bootstrap_seed", 0),
        ("segment_samples", 1),
    ]:
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: expected at least {least}.")
