#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2): a seek in an MP3 of 24 kHz or less gives other
# samples.
#
# What happens: soundfile.read(file, start=n) returns the same samples as the whole file
# read at once, cut from n on, if the rate is 32 kHz or more. At 11, 22 and 24 kHz
# (MPEG-2 layer 3) up to 300 samples at the beginning of the crop are wrong for some
# values of n, by up to a third of the sound's peak. libmpg123 writes "part2_3_length
# ... too large for available bit count" to stderr; soundfile raises nothing.
#
# Why it matters: crops for training are read by seeking. At 11,025 or 22,050 Hz, usual
# rates of this field, crops from MP3s may begin with a wrong fragment, and tests on WAV
# or at 44,100 Hz never show it. Decode such files once, to FLAC.
#
# Seen (plus the lines of libmpg123):
#   11025 Hz:  7 of 60 crops differ by more than 0.001, at most 0.120 (peak 0.44)
#   16000 Hz:  0 of 60 crops differ by more than 0.001, at most 0.000 (peak 0.48)
#   22050 Hz: 13 of 60 crops differ by more than 0.001, at most 0.102 (peak 0.50)
#   24000 Hz: 17 of 60 crops differ by more than 0.001, at most 0.160 (peak 0.51)
#   32000 Hz:  0 of 60 crops differ by more than 0.001, at most 0.000 (peak 0.49)
#   44100 Hz:  0 of 60 crops differ by more than 0.001, at most 0.000 (peak 0.46)
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 soundfile==0.14.0
cd "$tmp"
venv/bin/python - <<'END'
import sys

import numpy as np
import soundfile

rng = np.random.default_rng(0)
wrong = {}
for rate in (11025, 16000, 22050, 24000, 32000, 44100):
    sound = 0.1 * rng.standard_normal(6 * rate)
    soundfile.write("in.mp3", sound, rate, format="MP3")
    whole, _ = soundfile.read("in.mp3")
    errors = []
    for start in rng.integers(0, 5 * rate, 60):
        part, _ = soundfile.read("in.mp3", start=int(start), frames=500)
        errors.append(np.abs(part - whole[start : start + 500]).max())
    wrong[rate] = sum(error > 1e-3 for error in errors)
    print(
        f"{rate:5} Hz: {wrong[rate]:2} of 60 crops differ by more than 0.001, at most "
        f"{max(errors):.3f} (peak {np.abs(whole).max():.2f})"
    )
if not (wrong[22050] and wrong[24000] and not wrong[32000] and not wrong[44100]):
    sys.exit("changed: expected wrong crops at 22,050 and 24,000 Hz, none from 32,000 on")
END
