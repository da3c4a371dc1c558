#!/usr/bin/env python3
"""Encode the motion of every clip: a video network's features, or optical flow."""

import argparse
import functools
import sys
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging
from espnet2_avsep.cli.feature_options import (
    add_clip_options,
    add_job_options,
    add_network_options,
    tables,
)
from espnet2_avsep.visual.motion_features.motion_names import WEIGHTS


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Decode windows of pictures of every clip, encode each with a "
        "frozen video network (torchvision's, trained on Kinetics-400) or compute "
        "their optical flow, and write one (T, D) matrix per clip, rows uniform over "
        "its sound, to motion.ark, with motion.scp, motion_shape, motion_skipped.tsv "
        "and motion_info.yaml; or take features that were made elsewhere. A run that "
        "was cut off goes on where it stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add_clip_options(parser)
    add(
        "--motion_encoder",
        choices=tuple(WEIGHTS),
        default="s3d",
        help="video networks: s3d, r2plus1d_18 and mvit_v2_s, D is 1024, 512 or 768; "
        "optical flow on a grid of 28 x 28, D is 1569: raft_small (a network), "
        "lucas_kanade (a classical method without weights)",
    )
    add(
        "--motion_pretrained",
        help="a name of torchvision's weights, the path of a state dict, or 'random' "
        "(None: KINETICS400_V1, of raft_small C_T_V2)",
    )
    add(
        "--motion_rate",
        type=float,
        help="rows per second of sound (None: 1, of optical flow 8)",
    )
    add_network_options(parser, batch_size=8, what="windows")
    add(
        "--motion_precomputed",
        metavar="DIR",
        help="take the features as they are: iQuery's <category>/<video>.mp4.npy, "
        "(1024, T, h, w) or (T, 1024), at most 160 steps",
    )
    add_job_options(parser)
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command; ``argv`` defaults to the command line."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    if args.check_weights:
        from espnet2_avsep.visual.pretrained.torchvision_weights import find_file

        model = args.motion_encoder
        weights = args.motion_pretrained or WEIGHTS[model]
        if WEIGHTS[model] is not None:
            find_file(model, model, weights, "--motion_pretrained")
        return
    from espnet2_avsep.visual.motion_features.motion import copy_motion, extract_motion

    # One network for all tables, made when the first clip needs it.
    @functools.cache
    def build(**options):
        from espnet2_avsep.visual.motion_features.motion_encoder import (
            load_motion_encoder,
        )

        return load_motion_encoder(**options)

    for table in tables(args):
        if args.motion_precomputed is not None:
            copy_motion(
                table["video_scp"],
                table["output_dir"],
                args.motion_precomputed,
                table["utt2clip"],
                args.allow_empty,
            )
            continue
        extract_motion(
            table["video_scp"],
            table["output_dir"],
            wav_scp=table["wav_scp"],
            model=args.motion_encoder,
            pretrained=args.motion_pretrained,
            seed=args.seed,
            rows_per_second=args.motion_rate,
            batch_size=args.batch_size,
            device=args.device,
            dtype=args.dtype,
            allow_empty=args.allow_empty,
            allow_pipes=args.allow_pipes,
            audio_stream=args.audio_stream,
            build=build,
        )


if __name__ == "__main__":
    sys.exit(main())
