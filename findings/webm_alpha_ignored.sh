#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1.2): the default decoder of VP9 drops transparency.
#
# What happens: WebM stores transparency beside the pictures. FFmpeg's own decoder of
# VP9, which av.open chooses, returns yuv420p: a transparent pixel shows whatever colour
# lies under it, without a warning. The decoder "libvpx-vp9" returns yuva420p for the
# same packets.
#
# Why it matters: cut-out performers and instruments, for composites and augmentation,
# are published as WebM with transparency. A visual encoder then sees the hidden ground.
# `stream.metadata["alpha_mode"]` is "1" in such files: check it, and decode the packets
# with the other decoder.
#
# Seen (right half transparent, white under it):
#   alpha_mode 1, decoder vp9       : yuv420p  transparent pixel [255, 255, 255, 255]
#   alpha_mode 1, decoder libvpx-vp9: yuva420p transparent pixel [255, 255, 255, 0]
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$tmp"
venv/bin/python - <<'END'
import sys
from fractions import Fraction

import av
import numpy as np

picture = np.full((64, 64, 4), 255, np.uint8)
picture[:, :32] = (20, 20, 20, 255)
picture[:, 32:, 3] = 0
with av.open("in.webm", "w") as file:
    stream = file.add_stream("libvpx-vp9", rate=10)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuva420p"
    for number in range(5):
        frame = av.VideoFrame.from_ndarray(picture, format="rgba")
        frame = frame.reformat(format="yuva420p")
        frame.pts, frame.time_base = number, Fraction(1, 10)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
formats = {}
for decoder in ("default", "libvpx-vp9"):
    with av.open("in.webm") as file:
        stream = file.streams.video[0]
        context = stream.codec_context
        if decoder != "default":
            context = av.CodecContext.create(decoder, "r")
        frame = next(f for p in file.demux(stream) for f in context.decode(p))
        mode = stream.metadata.get("alpha_mode")
    formats[decoder] = frame.format.name
    rgba = frame.to_ndarray(format="rgba")[32, 48].tolist()
    print(
        f"alpha_mode {mode}, decoder {context.codec.name:10}: {frame.format.name:8} "
        f"transparent pixel {rgba}"
    )
if formats != {"default": "yuv420p", "libvpx-vp9": "yuva420p"}:
    sys.exit("changed: expected yuv420p by default, yuva420p from libvpx-vp9")
END
