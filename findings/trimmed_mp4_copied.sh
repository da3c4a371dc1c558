#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1.2): copying the packets of a trimmed mp4 brings back its end.
#
# What happens: phones and editors trim an mp4 by an edit list and leave the pictures in
# the file. The demuxer still returns the packets behind the end, marked `is_discard`;
# the decoder drops their pictures. The mp4 muxer writes such packets as ordinary ones:
# after a stream copy the pictures are shown again. What an edit list hides at the
# beginning stays hidden, since those packets have times below 0.
#
# Why it matters: "copy the video, replace the sound" is how separated sound gets its
# video. The copy runs on, without sound, and shows what its owner had cut away. Leave
# out packets with is_discard behind the last one that is shown.
#
# Seen (100 pictures at 25 a second, trimmed to 1 s):
#   whole.mp4    100 packets,  0 is_discard, 100 pictures
#   trimmed.mp4   99 packets, 74 is_discard,  25 pictures
#   copied.mp4    99 packets,  0 is_discard,  99 pictures
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$tmp"
venv/bin/python - <<'END'
import struct
import sys
from fractions import Fraction

import av
import numpy as np


def copy(source, target):
    with av.open(source) as file, av.open(target, "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


def shown(name):
    with av.open(name) as file:
        packets = [p for p in file.demux(video=0) if p.dts is not None]
    with av.open(name) as file:
        count = sum(1 for _ in file.decode(video=0))
    hidden = sum(packet.is_discard for packet in packets)
    print(f"{name:12} {len(packets):3} packets, {hidden:2} is_discard, {count:3} pictures")
    return count


rng = np.random.default_rng(0)
with av.open("whole.mp4", "w") as file:
    stream = file.add_stream("libx264", rate=25, options={"g": "50", "bf": "3"})
    stream.width = stream.height = 64
    for number in range(100):
        picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
with open("whole.mp4", "rb") as file:
    data = bytearray(file.read())
entry = data.index(b"elst") + 12  # version and flags, number of entries, then the duration
data[entry : entry + 4] = struct.pack(">I", 1000)  # in ms
with open("trimmed.mp4", "wb") as file:
    file.write(data)
copy("trimmed.mp4", "copied.mp4")
if not (shown("whole.mp4") == 100 and shown("trimmed.mp4") == 25 < shown("copied.mp4")):
    sys.exit("changed: expected 25 pictures of the trimmed file and more of its copy")
END
