#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2): an MP3 without an Info frame may end early.
#
# What happens: an MP3 of variable bit rate states its length in a Xing/Info frame,
# which is optional. Without it libsndfile estimates the length from the bit rate at the
# beginning, reports the estimate as `frames`, and `soundfile.read` stops there, without
# an error. A loud beginning before a quiet end costs most of the file. FFmpeg reads all
# of it.
#
# Why it matters: recorders and servers that write to a stream leave the frame out. A
# corpus read with soundfile (or librosa, which uses it) then holds the first seconds of
# such clips only, and durations that agree with what was read, so that nothing looks
# wrong.
#
# Seen:
#   Info frame yes: PyAV decodes 40.00 s, soundfile states 40.00 s and reads 40.00 s
#   Info frame no : PyAV decodes 40.05 s, soundfile states 6.68 s and reads 6.68 s
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6 soundfile==0.14.0
cd "$tmp"
venv/bin/python - <<'END'
import sys
from fractions import Fraction

import av
import numpy as np
import soundfile

RATE, SECONDS = 44100, 20
noise = np.random.default_rng(0).standard_normal(SECONDS * RATE)
sound = np.concatenate([0.2 * noise, 1e-6 * noise]).astype(np.float32)
read = {}
for info in (1, 0):
    options = {"write_xing": str(info)}
    with av.open("in.mp3", "w", options=options) as file:
        stream = file.add_stream("mp3", rate=RATE, layout="mono")
        stream.codec_context.format = "fltp"
        stream.codec_context.qscale = True  # variable bit rate
        stream.codec_context.global_quality = 4 * 118
        for start in range(0, len(sound), 1152):
            block = sound[None, start : start + 1152]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            frame.time_base = Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with av.open("in.mp3") as file:
        decoded = sum(frame.samples for frame in file.decode(audio=0)) / RATE
    stated = soundfile.info("in.mp3").frames / RATE
    read[info] = len(soundfile.read("in.mp3")[0]) / RATE
    print(
        f"Info frame {('no', 'yes')[info]:3}: PyAV decodes {decoded:.2f} s, soundfile "
        f"states {stated:.2f} s and reads {read[info]:.2f} s"
    )
if not (abs(read[1] - 2 * SECONDS) < 0.1 and read[0] < SECONDS):
    sys.exit("changed: expected less than half of the file without an Info frame")
END
