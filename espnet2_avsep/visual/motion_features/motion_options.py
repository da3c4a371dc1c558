"""Options of stage 2 on motion."""

from dataclasses import dataclass
from typing import Optional

from espnet2_avsep.cli.feature_options import MOST, Clips, Network
from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.visual.motion_features.motion_names import WEIGHTS


@dataclass(kw_only=True)
class MotionOptions(Clips, Network, Log):
    """What is made of the motion in tables of clips."""

    batch_size: int = option(8, "windows encoded together", least=1)
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
        None,
        "rows per second of sound (default: 1, of optical flow 8)",
        above=0,
        most=MOST,
    )
    motion_precomputed: Optional[str] = option(
        None,
        "take the features as they are: iQuery's <category>/<video>.mp4.npy, (1024, "
        "T, h, w) or (T, 1024), at most 160 steps",
        metavar="DIR",
    )
