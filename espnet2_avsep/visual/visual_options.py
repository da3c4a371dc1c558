"""Options of stage 2 on pictures: which are taken, and what is made of them."""

from dataclasses import dataclass
from typing import List, Optional

from espnet2_avsep.cli.feature_options import MOST, NONE, Clips, Network
from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.errors import InputError

ENCODERS = ("open_clip", "resnet18")
FRAMES = "frames"  # not an encoder: the pictures themselves
# Side of packed pictures in pixels.
MAX_SIZE = 4096
# Parts of a picture: where they begin and end, as shares of its width.
REGIONS = {"whole": (0.0, 1.0), "left": (0.0, 0.5), "right": (0.5, 1.0)}


@dataclass(kw_only=True)
class Sampling:
    """Which pictures of a clip are taken."""

    fps: float = option(8, "pictures a second", above=0, most=MOST)
    every: int = option(8, "encode every n-th picture", least=1)


@dataclass(kw_only=True)
class VisualOptions(Clips, Network, Sampling, Log):
    """What is made of the pictures of tables of clips.

    Raises:
        InputError: a number out of its range, or options that do not go together.
    """

    batch_size: int = option(32, "pictures encoded together", least=1)
    visual_encoder: str = option(
        "open_clip",
        "frames: pack the pictures themselves, for networks that train on them",
        choices=(*ENCODERS, FRAMES),
    )
    visual_model: str = option("ViT-B-32", "a model name of open_clip")
    visual_pretrained: Optional[str] = option(
        None,
        "a tag of open_clip's (or torchvision's for resnet18), the path of a "
        "checkpoint, or 'random' (default: openai, or IMAGENET1K_V1 for resnet18)",
    )
    visual_size: int = option(
        268,
        "side of the packed square pictures in pixels (frames)",
        least=1,
        most=MAX_SIZE,
    )
    jpeg_quality: int = option(90, "of packed pictures (frames)", least=1, most=95)
    region: Optional[List[str]] = option(
        None,
        "the part of the pictures that is encoded, for duets: one for each table "
        "(default: whole)",
        choices=tuple(REGIONS),
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
    box_score: float = option(0.3, "least score of a box", least=0, most=1)
    box_margin: float = option(
        0.0,
        "added to a box on each side, as a share of its width and height",
        least=0,
        most=10,
    )
    box_fps: float = option(
        1.0,
        "numbered pictures a second of box files: 1 in iQuery, 8 in Co-Separation",
        above=0,
        most=MOST,
    )
    box_size: Optional[str] = option(
        None,
        "of the pictures that the boxes of files were found in (default: the clips')",
        metavar="WxH",
    )
    box_batch_size: int = option(4, "pictures the detector sees at once", least=1)
    audio_dir: Optional[List[str]] = option(
        None,
        "write the sound of these clips there in the same pass, as avsep_format_audio "
        "would with this --output_dir, which then finds it finished (default, or '-' "
        "for one of several tables: do not)",
    )
    fs: Optional[int] = option(None, "for --audio_dir: sampling rate in Hz", least=1)
    audio_format: str = option(
        "wav", "for --audio_dir: of the files", choices=("wav", "flac")
    )

    def __post_init__(self):
        """Check options that do not go together."""
        super().__post_init__()
        sounds = [folder for folder in self.audio_dir or () if folder != NONE]
        if sounds and self.fs is None:
            raise InputError(f"--audio_dir {sounds[0]}: needs --fs, a rate in Hz.")
        given = {
            "visual_encoder": FRAMES if self.visual_encoder == FRAMES else "",
            "precomputed": self.precomputed,
            "visual_boxes": self.visual_boxes,
            "region": " ".join(part for part in self.region or () if part != "whole"),
            "audio_dir": " ".join(sounds),
        }
        for one, other, reason in (
            ("audio_dir", "precomputed", "no video is read with the second"),
            ("visual_boxes", "precomputed", "pictures are cropped before encoding"),
            ("visual_encoder", "audio_dir", "stage 3 formats the sound"),
            ("visual_encoder", "region", "--visual_boxes crops packed pictures"),
            ("visual_boxes", "region", "both choose parts of the pictures"),
        ):
            if given[one] and given[other]:
                raise InputError(
                    f"--{one} {given[one]} and --{other} {given[other]}: give one of "
                    f"them; {reason}."
                )
