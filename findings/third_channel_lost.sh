#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2) with PyAV 18.1.0 (FFmpeg 8.1.2): channel 3 of 3
# and channel 4 of 6 are missing from a mono down-mix.
#
# What happens: libsndfile writes a WAV, AIFF or CAF of 3 or 6 channels without naming
# them. FFmpeg's resampler then guesses "2.1" and "5.1" and drops what it takes for the
# channel of low frequencies. Stereo output loses the channel as well. A FLAC of 3
# channels counts as left, right, centre: the same samples in a FLAC are all kept.
#
# Why it matters: stems, close microphones and arrays are stored in such files. A source
# that is on that channel alone is silent for a pipeline that asks FFmpeg for mono
# sound. Take the channels apart yourself (`format="fltp"`, layout of the file) and
# average them.
#
# Seen:
#   WAV  sound on channel 3 of 3 (3 channels): peak in mono 0.00
#   WAV  sound on channel 4 of 6 (6 channels): peak in mono 0.00
#   WAV  sound on channel 1 of 3 (3 channels): peak in mono 0.35
#   AIFF sound on channel 3 of 3 (3 channels): peak in mono 0.00
#   AIFF sound on channel 4 of 6 (6 channels): peak in mono 0.00
#   AIFF sound on channel 1 of 3 (3 channels): peak in mono 0.35
#   CAF  sound on channel 3 of 3 (3 channels): peak in mono 0.00
#   CAF  sound on channel 4 of 6 (6 channels): peak in mono 0.00
#   CAF  sound on channel 1 of 3 (3 channels): peak in mono 0.35
#   FLAC sound on channel 3 of 3 (3.0): peak in mono 0.50
#   FLAC sound on channel 4 of 6 (5.1(side)): peak in mono 0.00
#   FLAC sound on channel 1 of 3 (3.0): peak in mono 0.35
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6 soundfile==0.14.0
cd "$tmp"
venv/bin/python - <<'END'
import sys

import av
import numpy as np
import soundfile

RATE = 16000
tone = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE)
peak = {}
for container in ("WAV", "AIFF", "CAF", "FLAC"):
    for channels, channel in ((3, 3), (6, 4), (3, 1)):
        sound = np.zeros((RATE, channels))
        sound[:, channel - 1] = tone  # all other channels are silent
        soundfile.write("in", sound, RATE, format=container, subtype="PCM_16")
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        with av.open("in") as file:
            layout = file.streams.audio[0].layout.name
            mono = [
                out.to_ndarray()
                for frame in file.decode(audio=0)
                for out in resampler.resample(frame)
            ]
        peak[container, channels, channel] = np.abs(np.concatenate(mono, 1)).max()
        print(
            f"{container:4} sound on channel {channel} of {channels} ({layout}): "
            f"peak in mono {peak[container, channels, channel]:.2f}"
        )
lost = {key for key, value in peak.items() if value == 0}
expected = {(c, *n) for c in ("WAV", "AIFF", "CAF") for n in ((3, 3), (6, 4))}
if lost != expected | {("FLAC", 6, 4)}:
    sys.exit(f"changed: silent are {sorted(lost)}")
END
