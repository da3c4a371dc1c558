"""The options that the commands of stage 2 share."""

import argparse

from espnet2_avsep.bin.cli import str2bool


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Add which clips are read, and where their features go."""
    add = parser.add_argument
    add(
        "--video_scp", required=True, help="table: clip, video file or folder of images"
    )
    add("--output_dir", required=True, help="where ark and tables go")
    add(
        "--wav_scp",
        help="table: clip, its sound, whose duration counts (None: the sound of the "
        "video file itself)",
    )
    add_audio_stream(parser)
    add_pipe_option(parser)


def add_pipe_option(parser: argparse.ArgumentParser) -> None:
    """Add whether the table of sounds may hold commands."""
    parser.add_argument(
        "--allow_pipes",
        type=str2bool,
        default=False,
        help="true: run the commands ('cmd |') that --wav_scp has in place of files, "
        "without a shell; only for tables that you wrote yourself",
    )


def add_audio_stream(parser: argparse.ArgumentParser) -> None:
    """Add which audio stream of a file counts."""
    parser.add_argument(
        "--audio_stream",
        type=int,
        metavar="N",
        help="which audio stream of files with several, from 1 (None: the first with "
        "the default flag that can be decoded)",
    )


def add_network_options(
    parser: argparse.ArgumentParser, batch_size: int, what: str
) -> None:
    """Add how a network is run, which sees ``batch_size`` of ``what`` at once."""
    add = parser.add_argument
    add("--seed", type=int, default=0, help="seed of random weights")
    add("--batch_size", type=int, default=batch_size, help=f"{what} encoded together")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16: faster on devices that have it",
    )


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add what one job of several needs."""
    add = parser.add_argument
    add(
        "--allow_empty",
        type=str2bool,
        default=False,
        help="true: write empty tables where every clip is left out, instead of an "
        "error (for one job of several)",
    )
    add("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
