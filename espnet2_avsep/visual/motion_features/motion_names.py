"""Names and defaults of the motion encoders, for what must not import torch."""

VIDEO_NETWORKS = ("s3d", "r2plus1d_18", "mvit_v2_s")
RAFT, LUCAS_KANADE = "raft_small", "lucas_kanade"
FLOWS = (RAFT, LUCAS_KANADE)
# Rows per second: windows of about a second, or flows without gaps between them (Sound
# of Motions: 8 pictures per second).
RATES = {**dict.fromkeys(VIDEO_NETWORKS, 1.0), **dict.fromkeys(FLOWS, 8.0)}
# torchvision's names; Lucas and Kanade's method has no weights.
WEIGHTS = {
    **dict.fromkeys(VIDEO_NETWORKS, "KINETICS400_V1"),
    RAFT: "C_T_V2",
    LUCAS_KANADE: None,
}
