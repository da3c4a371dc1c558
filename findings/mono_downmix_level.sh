#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1.2): a mono down-mix is 3 dB louder in float than in int16.
#
# What happens: av.AudioResampler(layout="mono") averages the two channels of stereo
# sound when its output is an integer format. When its output is a float format it
# computes 0.7071 (left + right): equal channels come out 1.41 times as large and may
# exceed 1. The input format does not matter. FFmpeg scales the matrix only for
# integers.
#
# Why it matters: two readers of the same file that differ only in `format=` give mono
# sound of different level, and librosa.to_mono or a mean over channels gives the lower
# one. Mixtures, SDR (not scale-invariant) and features of a model change by 3 dB.
#
# Seen:
#   s16p stereo of 0.5 -> s16  mono 0.5000
#   s16p stereo of 0.5 -> s16p mono 0.5000
#   s16p stereo of 0.5 -> flt  mono 0.7071
#   s16p stereo of 0.5 -> fltp mono 0.7071
#   s16p stereo of 0.5 -> dbl  mono 0.7071
#   fltp stereo of 0.5 -> s16  mono 0.5000
#   fltp stereo of 0.5 -> s16p mono 0.5000
#   fltp stereo of 0.5 -> flt  mono 0.7071
#   fltp stereo of 0.5 -> fltp mono 0.7071
#   fltp stereo of 0.5 -> dbl  mono 0.7071
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

SCALE = {"s16": 32768, "s16p": 32768, "flt": 1, "fltp": 1, "dbl": 1}
level = {}
for source in ("s16p", "fltp"):
    dtype = np.int16 if source == "s16p" else np.float32
    sound = np.full((2, 1600), 0.5 * SCALE[source], dtype)  # left = right = 0.5
    for target in SCALE:
        frame = av.AudioFrame.from_ndarray(sound, format=source, layout="stereo")
        frame.sample_rate = 16000
        resampler = av.AudioResampler(format=target, layout="mono", rate=16000)
        mono = resampler.resample(frame)[0].to_ndarray()
        level[source, target] = mono[0, 800] / SCALE[target]
        print(f"{source:4} stereo of 0.5 -> {target:4} mono {level[source, target]:.4f}")
integer = [v for (_, target), v in level.items() if target.startswith("s16")]
floating = [v for (_, target), v in level.items() if not target.startswith("s16")]
if not (np.allclose(integer, 0.5) and np.allclose(floating, 0.5**0.5)):
    sys.exit("changed: expected 0.5 in integer formats and 0.7071 in float formats")
END
