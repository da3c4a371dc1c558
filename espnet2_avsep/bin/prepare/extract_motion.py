"""Encode the motion of every clip, by a network or as optical flow (stage 2).

Decodes windows of pictures of every clip, encodes each with a frozen video network
(torchvision's, trained on Kinetics-400) or computes their optical flow, and writes one
(T, D) matrix per clip, rows uniform over its sound, to motion.ark, with motion.scp,
motion_shape, motion_skipped.tsv and motion_info.yaml; or takes features that were made
elsewhere. A run that was cut off continues where it stopped.
"""

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.visual.motion_features.motion_names import WEIGHTS
from espnet2_avsep.visual.motion_features.motion_options import MotionOptions


@with_options(MotionOptions)
def main(args: MotionOptions) -> None:
    """Run the command."""
    if args.check_weights:
        from espnet2_avsep.visual.pretrained.torchvision_weights import find_file

        model = args.motion_encoder
        weights = args.motion_pretrained or WEIGHTS[model]
        if WEIGHTS[model] is not None:
            find_file(model, model, weights, "--motion_pretrained")
        return
    from espnet2_avsep.visual.motion_features.motion import extract_motion

    extract_motion(args)
