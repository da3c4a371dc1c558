#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2): loud parts of an Ogg file change their sign when
# they are read as int16.
#
# What happens: a lossy codec overshoots: decoded samples of a loud recording exceed 1
# although no sample that went in did. As floats they are returned as they are. With
# dtype="int16" those of an MP3 are limited to full scale, but those of Vorbis and Opus
# wrap around: 1.01 is read as -0.99. soundfile raises nothing.
#
# Why it matters: corpora are cached as int16 to save space, and music is mastered to
# full scale. Each such peak becomes a click as loud as a sample can be; what was read
# is further from the sound than silence. Read float32 and limit it yourself.
#
# Seen (96,000 samples, tones limited to +-0.99; SDR of int16 against float samples):
#   VORBIS         : float peak 1.15, 12840 above 1; 12830 change sign, SDR -0.2 dB
#   OPUS           : float peak 1.28, 13382 above 1; 13372 change sign, SDR -0.3 dB
#   MPEG_LAYER_III : float peak 1.04,  3128 above 1;     0 change sign, SDR 50.5 dB
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

RATE = 48000
time = np.arange(2 * RATE) / RATE
chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277, 330, 440))
sound = np.clip(0.75 * chord, -0.99, 0.99)
wrong = {}
for container, codec in (("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")):
    soundfile.write("in", sound, RATE, format=container, subtype=codec)
    floats, _ = soundfile.read("in")
    integers = soundfile.read("in", dtype="int16")[0] / 32768
    over = np.count_nonzero(np.abs(floats) > 1)
    wrong[codec] = np.count_nonzero((floats * integers < 0) & (np.abs(floats) > 0.5))
    sdr = 10 * np.log10(np.sum(floats**2) / np.sum((floats - integers) ** 2))
    print(
        f"{codec:15}: float peak {np.abs(floats).max():.2f}, {over:5} "
        f"above 1; {wrong[codec]:5} change sign, SDR {sdr:.1f} dB"
    )
if not (wrong["VORBIS"] > 1000 and wrong["OPUS"] > 1000 and not wrong["MPEG_LAYER_III"]):
    sys.exit("changed: expected wrong signs from Vorbis and Opus, none from MP3")
END
