#!/usr/bin/env bash
# PyAV 18.1.0: after a seek, pictures of H.264 with periodic intra refresh may be wrong.
#
# What happens: x264's intra-refresh writes one intra picture, the first; later a column of
# intra blocks moves over the pictures, and those at which it begins count as key frames.
# After a seek to one of these, FFmpeg gives pictures from where the stream says that it is
# repaired. Behind most key frames they are right. Behind some they are not, up to the end
# of the next refresh, and they are not marked as corrupt.
#
# Why it matters: streams and screen recordings of low delay are written like this. A data
# set that seeks to a time shows such pictures to its encoder, and gets others than one
# that reads the file from its beginning. The type of the first picture behind the seek,
# P instead of I, tells; then decode from the beginning.
#
# Seen (differences from the pictures decoded from the beginning, of 255):
#   key frame 20: 0 of 96 pictures wrong
#   key frame 40: 0 of 76 pictures wrong
#   key frame 60: 0 of 56 pictures wrong
#   key frame 80: 20 of 36 pictures wrong, by up to 247, 0 of them marked
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$tmp"
venv/bin/python - <<'END'
import sys

import av
import numpy as np

noise = np.random.default_rng(1).integers(0, 255, (64, 96, 3)).astype(np.uint8)
with av.open("refresh.mkv", "w") as out:
    stream = out.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    stream.codec_context.max_b_frames = 0
    stream.options = {"x264-params": "intra-refresh=1:keyint=20:threads=1"}
    for n in range(120):
        picture = av.VideoFrame.from_ndarray(np.roll(noise, 3 * n, 1), format="rgb24")
        out.mux(stream.encode(picture))
    out.mux(stream.encode(None))


def decode(first):
    """Return the pictures from a key frame on, by their number."""
    with av.open("refresh.mkv") as source:
        if first:
            source.seek(first * 40, stream=source.streams.video[0])  # ms
        return {frame.pts // 40: frame for frame in source.decode(video=0)}


whole = decode(0)
numbers = []
for key in (20, 40, 60, 80):
    found = decode(key)
    wrong, largest, marked = 0, 0, 0
    for n, frame in found.items():
        pair = [f.to_ndarray(format="gray").astype(int) for f in (frame, whole[n])]
        difference = abs(pair[0] - pair[1]).max()
        if difference > 0:
            wrong, largest = wrong + 1, max(largest, difference)
            marked += frame.is_corrupt
    numbers.append((wrong, marked))
    text = f"key frame {key}: {wrong} of {len(found)} pictures wrong"
    print(f"{text}, by up to {largest}, {marked} of them marked" if wrong else text)
if numbers[:3] != [(0, 0)] * 3 or numbers[3][0] == 0 or numbers[3][1]:
    sys.exit("changed: expected wrong pictures behind key frame 80 only, not marked")
END
