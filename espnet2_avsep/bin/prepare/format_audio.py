#!/usr/bin/env python3
"""Write the sound of every clip as mono 16-bit PCM at one rate (stage 3)."""

import argparse
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.cli.feature_options import add_audio_stream, add_pipe_option


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Decode the sound of every clip (any media file), "
        "average its channels, resample it and write it as 16-bit PCM, with wav.scp, "
        "utt2num_samples and skipped.tsv. A run that was cut off goes on where it "
        "stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--wav_scp", required=True, help="table: clip, media file (or 'command |')"
    )
    parser.add_argument("--output_dir", required=True, help="where tables and wavs go")
    parser.add_argument(
        "--fs", type=int, required=True, help="sampling rate in Hz, e.g. 11625"
    )
    add_audio_stream(parser)
    parser.add_argument("--audio_format", choices=("wav", "flac"), default="wav")
    parser.add_argument(
        "--allow_empty",
        type=str2bool,
        default=False,
        help="true: write empty tables where every clip is left out, instead of an "
        "error (for one job of several)",
    )
    add_pipe_option(parser)
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING ...")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    from espnet2_avsep.data.audio.audio_format import format_audio

    format_audio(
        args.wav_scp,
        args.output_dir,
        args.fs,
        args.audio_format,
        args.allow_empty,
        args.allow_pipes,
        args.audio_stream,
    )


if __name__ == "__main__":
    sys.exit(main())
