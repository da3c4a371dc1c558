"""Encode the motion of every clip, by a network or as optical flow (stage 2).

Decodes windows of pictures of every clip, encodes each with a frozen video network
(torchvision's, trained on Kinetics-400) or computes their optical flow, and writes one
(T, D) matrix per clip, rows uniform over its sound, to motion.ark, with motion.scp,
motion_shape, motion_skipped.tsv and motion_info.yaml; or takes features that were made
elsewhere. A run that was cut off continues where it stopped.
"""

import functools
from dataclasses import dataclass
from typing import Optional

from espnet2_avsep.cli.feature_options import Clips, Network, tables
from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.visual.motion_features.motion_names import WEIGHTS


@dataclass(kw_only=True)
class Options(Clips, Network, Log):
    """The options of the command."""

    batch_size: int = option(8, "windows encoded together")
    motion_encoder: str = option(
        "s3d",
        "video networks: s3d, r2plus1d_18 and mvit_v2_s, D is 1024, 512 or 768; "
        "optical flow on a grid of 28 x 28, D is 1569: raft_small (a network), "
        "lucas_kanade (a classical method without weights)",
        choices=tuple(WEIGHTS),
    )
    motion_pretrained: Optional[str] = option(
        None,
        "a name of torchvision's weights, the path of a state dict, or 'random' "
        "(default: KINETICS400_V1, of raft_small C_T_V2)",
    )
    motion_rate: Optional[float] = option(
        None, "rows per second of sound (default: 1, of optical flow 8)"
    )
    motion_precomputed: Optional[str] = option(
        None,
        "take the features as they are: iQuery's <category>/<video>.mp4.npy, (1024, "
        "T, h, w) or (T, 1024), at most 160 steps",
        metavar="DIR",
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
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
