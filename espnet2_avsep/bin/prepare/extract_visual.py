"""Encode sampled pictures of every clip, or take precomputed features (stage 2).

Decodes sampled pictures of every clip straight from its video, or reads them from a
folder of images, encodes them with a frozen network (or packs them as they are) and
writes one (frames, D) matrix per clip to visual.ark, with visual.scp, visual_shape,
visual_skipped.tsv and visual_info.yaml. A run that was cut off continues where it
stopped.
"""

from espnet2_avsep.cli.options import with_options
from espnet2_avsep.visual.visual_options import VisualOptions


@with_options(VisualOptions)
def main(args: VisualOptions) -> None:
    """Run the command."""
    if args.check_weights:
        _check_weights(args)
        return
    from espnet2_avsep.visual.extract import extract_visual

    extract_visual(args)


def _check_weights(args: VisualOptions) -> None:
    """Find, or fetch, the weights that the options name."""
    if args.visual_encoder == "open_clip":
        from espnet2_avsep.visual.pretrained.open_clip_weights import find_weights

        find_weights(args.visual_model, args.visual_pretrained or "openai")
    elif args.visual_encoder == "resnet18":
        from espnet2_avsep.visual.encoders.resnet_encoder import DEFAULT_WEIGHTS
        from espnet2_avsep.visual.pretrained.torchvision_weights import find_file

        pretrained = args.visual_pretrained or DEFAULT_WEIGHTS
        find_file("resnet18", "ResNet-18", pretrained, "--visual_pretrained")
    if args.visual_boxes == "detector":
        from espnet2_avsep.visual.pretrained.torchvision_weights import find_file

        model = args.box_detector
        find_file(model, model, args.box_pretrained, "--box_pretrained")
