#!/usr/bin/env bash
# librosa 0.11.0 with soxr 1.1.0: librosa.resample may end with a zero that is no sound.
#
# What happens: soxr returns round(n * ratio) samples, librosa promises ceil(n * ratio)
# and fills up with a zero. Where the exact length rounds down (a quarter of all lengths
# from 44,100 to 11,025 Hz, nearly half to 16,000 Hz) the last sample is 0.0 whatever
# the sound is.
#
# Why it matters: pieces that are resampled one by one and joined get a click at such
# joints, and they grow: at 11,025 Hz, 10 s in pieces of 0.1 s end 50 samples late.
# Lengths in tables that were computed by soxr's rule are one sample short. Resample the
# whole, or use soxr.ResampleStream.
#
# Seen (the input is 1 everywhere):
#   44101 samples -> 16000 Hz: 16000.36: librosa 16001, last 0.00; soxr 16000, last 1.09
#   44101 samples -> 11025 Hz: 11025.25: librosa 11026, last 0.00; soxr 11025, last 1.09
#   44103 samples -> 11025 Hz: 11025.75: librosa 11026, last 1.00; soxr 11026, last 1.00
#   44100 -> 11025 Hz: 100 of 400 lengths end with 0
#   10 s in 100 pieces: 110300 samples, should be 110250
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet librosa==0.11.0 numpy==2.4.6 soxr==1.1.0
cd "$tmp"
venv/bin/python - <<'END'
import sys

import librosa
import numpy as np
import soxr

for rate, length in ((16000, 44101), (11025, 44101), (11025, 44103)):
    sound = np.ones(length, np.float32)
    ours = librosa.resample(sound, orig_sr=44100, target_sr=rate)
    theirs = soxr.resample(sound, 44100, rate)
    print(
        f"{length} samples -> {rate} Hz: {length * rate / 44100:.2f}: librosa "
        f"{len(ours)}, last {ours[-1]:.2f}; soxr {len(theirs)}, last {theirs[-1]:.2f}"
    )
lengths = range(4001, 4401)
zeros = sum(
    librosa.resample(np.ones(n, np.float32), orig_sr=44100, target_sr=11025)[-1] == 0
    for n in lengths
)
print(f"44100 -> 11025 Hz: {zeros} of {len(lengths)} lengths end with 0")
pieces = np.ones((100, 4410), np.float32)
joined = librosa.resample(pieces, orig_sr=44100, target_sr=11025).size
print(f"10 s in 100 pieces: {joined} samples, should be {10 * 11025}")
if zeros != len(lengths) / 4:
    sys.exit("changed: expected a last sample of 0 for a quarter of the lengths")
END
