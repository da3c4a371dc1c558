#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1.2): WMA sound begins 92 ms after the start_time of its stream.
#
# What happens: the first two blocks of WMA (2 x 2048 samples) give no sound. The time
# stamps of decoded frames say so: the first is 92 ms. `stream.start_time` says 0. Who
# decodes all frames, joins their samples and takes start_time for the first one, as is
# right for AAC in mp4, MP3, Opus and others, places all sound 92 ms too early.
#
# Why it matters: older corpora and recorders have WMV. Two pictures at 25 a second lie
# between a sound and what makes it. Take the time of the first decoded frame.
#
# Seen (a white picture and a click, both at 2 s; the muxer moves both by 46 ms):
#   wmav1: flash 2.046 s, click 2.046 s (first frame 0.092) or 1.954 s (start_time 0.000)
#   wmav2: flash 2.046 s, click 2.046 s (first frame 0.092) or 1.954 s (start_time 0.000)
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

RATE = 44100
sound = np.zeros(3 * RATE, np.float32)
sound[2 * RATE : 2 * RATE + 60] = 0.9
early = {}
for codec in ("wmav1", "wmav2"):
    with av.open("in.wmv", "w", format="asf") as file:
        video = file.add_stream("wmv2", rate=25)
        video.width = video.height = 64
        audio = file.add_stream(codec, rate=RATE, layout="mono")
        audio.bit_rate = 64000
        file.start_encoding()
        for number in range(75):
            picture = np.full((64, 64, 3), 255 if number == 50 else 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for start in range(0, len(sound), 2048):
            block = sound[None, start : start + 2048]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            frame.time_base = Fraction(1, RATE)
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
    with av.open("in.wmv") as file:
        flash = [f.time for f in file.decode(video=0) if f.to_ndarray()[:64].mean() > 150]
    with av.open("in.wmv") as file:
        start_time = float(file.streams.audio[0].start_time or 0)
        frames = list(file.decode(audio=0))
    decoded = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    click = np.argmax(np.abs(decoded) > 0.4) / RATE
    early[codec] = frames[0].time - start_time
    print(
        f"{codec}: flash {flash[0]:.3f} s, click {frames[0].time + click:.3f} s (first frame "
        f"{frames[0].time:.3f}) or {start_time + click:.3f} s (start_time {start_time:.3f})"
    )
if any(abs(value - 0.092) > 0.002 for value in early.values()):
    sys.exit("changed: expected the first frame 92 ms after start_time")
END
