"""Encode sampled pictures of every clip, or take precomputed features (stage 2).

Decodes sampled pictures of every clip straight from its video, or reads them from a
folder of images, encodes them with a frozen network (or packs them as they are) and
writes one (frames, D) matrix per clip to visual.ark, with visual.scp, visual_shape,
visual_skipped.tsv and visual_info.yaml. A run that was cut off continues where it
stopped.
"""

import functools
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from espnet2_avsep.cli.feature_options import Clips, Network, tables
from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.lean_imports import import_lean_torch


@dataclass(kw_only=True)
class Options(Clips, Network, Log):
    """The options of the command."""

    batch_size: int = option(32, "pictures encoded together")
    visual_encoder: str = option(
        "open_clip",
        "frames: pack the pictures themselves, for networks that train on them",
        choices=("open_clip", "resnet18", "frames"),
    )
    visual_model: str = option("ViT-B-32", "a model name of open_clip")
    visual_pretrained: Optional[str] = option(
        None,
        "a tag of open_clip's (or torchvision's for resnet18), the path of a "
        "checkpoint, or 'random' (default: openai, or IMAGENET1K_V1 for resnet18)",
    )
    visual_size: int = option(
        268, "side of the packed square pictures in pixels (frames)"
    )
    jpeg_quality: int = option(90, "of packed pictures (frames)")
    fps: float = option(8, "pictures a second")
    every: int = option(8, "encode every n-th picture")
    region: Optional[List[str]] = option(
        None,
        "the part of the pictures that is encoded, for duets: one for each table "
        "(default: whole)",
        choices=("whole", "left", "right"),
    )
    precomputed: Optional[str] = option(
        None,
        "take the features as they are: a kaldi scp, or HFRA's HDF5 file "
        "(category/video_id -> (n, D))",
        metavar="FILE",
    )
    visual_boxes: Optional[str] = option(
        None,
        "cut the pictures out around objects: those that a detector finds, or those "
        "of box files, <category>/<video>.npy or .json (default: whole pictures); "
        "visual_boxes.tsv says what was cut out. A picture without a box stays whole",
        metavar="detector|DIR",
    )
    box_detector: str = option(
        "fasterrcnn_resnet50_fpn_v2",
        "torchvision's detectors, of COCO's 80 classes",
        choices=(
            "fasterrcnn_resnet50_fpn_v2",
            "fcos_resnet50_fpn",
            "retinanet_resnet50_fpn_v2",
        ),
    )
    box_pretrained: str = option(
        "COCO_V1",
        "weights of the detector: torchvision's name, a state dict, or 'random'",
    )
    box_classes: Optional[str] = option(
        None,
        "classes of boxes, the most wanted first, separated by commas; or a table of "
        "categories of clips ('*': the others) and such lists. Names (detector, json) "
        "or numbers (npy); 'any' is all (default: any)",
        metavar="LIST|FILE",
    )
    box_score: float = option(0.3, "least score of a box")
    box_margin: float = option(
        0.0, "added to a box on each side, as a share of its width and height"
    )
    box_fps: float = option(
        1.0, "numbered pictures a second of box files: 1 in iQuery, 8 in Co-Separation"
    )
    box_size: Optional[str] = option(
        None,
        "of the pictures that the boxes of files were found in (default: the clips')",
        metavar="WxH",
    )
    box_batch_size: int = option(4, "pictures the detector sees at once")
    audio_dir: Optional[List[str]] = option(
        None,
        "write the sound of these clips there in the same pass, as avsep_format_audio "
        "would with this --output_dir, which then finds it finished (default, or '-' "
        "for one of several tables: do not)",
    )
    fs: Optional[int] = option(None, "for --audio_dir: sampling rate in Hz")
    audio_format: str = option(
        "wav", "for --audio_dir: of the files", choices=("wav", "flac")
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    if args.check_weights:
        _check_weights(args)
        return

    # One network for all tables, made when the first clip needs it.
    @functools.cache
    def build(**options):
        from espnet2_avsep.visual.build import build_encoder

        return build_encoder(**options)

    for table in tables(args):
        _extract(args, build, **table)


def _check_weights(args: Options) -> None:
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


def _extract(
    args: Options,
    build: Any,
    video_scp: str,
    output_dir: str,
    wav_scp: Optional[str],
    utt2clip: Optional[str],
    audio_dir: Optional[str],
    region: str,
) -> None:
    """Do one table of clips."""
    import contextlib

    import_lean_torch()
    from espnet2_avsep.data.audio.audio_format import AudioStore
    from espnet2_avsep.errors import InputError
    from espnet2_avsep.visual.extract import (
        copy_precomputed,
        extract_visual,
        pack_frames,
    )

    if audio_dir is not None and (args.fs is None or args.precomputed is not None):
        raise InputError(
            f"--audio_dir {audio_dir}: needs --fs, the sampling rate in Hz, and "
            "cannot go with --precomputed, with which no video is read."
        )
    if args.precomputed is not None and args.visual_boxes is not None:
        raise InputError(
            f"--visual_boxes {args.visual_boxes}: pictures are cut out before they are "
            "encoded, but --precomputed takes embeddings as they are."
        )
    if args.precomputed is not None:
        copy_precomputed(
            video_scp, output_dir, args.precomputed, utt2clip, args.allow_empty
        )
        return
    boxes = None
    if args.visual_boxes is not None:
        from espnet2_avsep.visual.boxes.box_source import BoxSource

        boxes = BoxSource(
            args.visual_boxes,
            utt2clip,
            detector=args.box_detector,
            pretrained=args.box_pretrained,
            seed=args.seed,
            classes=args.box_classes,
            score=args.box_score,
            margin=args.box_margin,
            fps=args.box_fps,
            size=args.box_size,
            batch_size=args.box_batch_size,
        )
    options: Dict[str, Any] = {
        "wav_scp": wav_scp,
        "fps": args.fps,
        "every": args.every,
        "allow_empty": args.allow_empty,
        "boxes": boxes,
        "device": args.device,
        "allow_pipes": args.allow_pipes,
        "audio_stream": args.audio_stream,
    }
    if args.visual_encoder == "frames":
        if audio_dir is not None or region != "whole":
            raise InputError(
                "--visual_encoder frames goes with neither --audio_dir nor --region: "
                "stage 3 formats the sound, and boxes choose parts (--visual_boxes)."
            )
        pack_frames(
            video_scp,
            output_dir,
            size=args.visual_size,
            jpeg_quality=args.jpeg_quality,
            **options,
        )
        return
    with contextlib.ExitStack() as stack:
        audio = None
        if audio_dir is not None:
            audio = stack.enter_context(
                AudioStore(audio_dir, args.fs, args.audio_format, args.audio_stream)
            )
        extract_visual(
            video_scp,
            output_dir,
            encoder=args.visual_encoder,
            model=args.visual_model,
            pretrained=args.visual_pretrained,
            seed=args.seed,
            batch_size=args.batch_size,
            dtype=args.dtype,
            audio=audio,
            region=region,
            build=build,
            **options,
        )
