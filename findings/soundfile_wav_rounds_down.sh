#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2): floats are rounded down in a WAV, to the nearest
# in a FLAC.
#
# What happens: soundfile writes float samples to 16 or 24 bits of WAV, AIFF or ALAC by
# cutting off the lower bits, always downwards. FLAC rounds to the nearest. So the same
# array gives different samples in the two "lossless" files; those of the WAV lie half a
# step too low, and their error is 6 dB larger. Silence with any noise below 0, however
# small (here -180 dB), becomes a mixture of 0 and -1. Samples that were read from a
# file of as many bits are written back unchanged, so that a round trip shows nothing.
#
# Why it matters: separated sources are written one by one and added again. The error
# does not average out: eight tracks are four steps below their mixture. A track that is
# silent but for rounding errors is not silent in its file, and is scored as if it were
# sound. Round yourself and write int16: np.rint(32768 * x), limited to +-32767.
#
# Seen (errors in steps of the format):
#   WAV  PCM_16: mean error -0.50, rms 0.58; silence -> [-1, 0]
#   AIFF PCM_16: mean error -0.50, rms 0.58; silence -> [-1, 0]
#   CAF  ALAC_16: mean error -0.50, rms 0.58; silence -> [-1, 0]
#   FLAC PCM_16: mean error +0.00, rms 0.29; silence -> [0]
#   WAV  PCM_24: mean error -0.50, rms 0.57; silence -> [-1, 0]
#   FLAC PCM_24: mean error -0.00, rms 0.29; silence -> [0]
#   8 tracks minus their mixture: WAV -4.00 steps on average, FLAC -0.00
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

RATE = 16000


def written(sound, container, subtype):
    """Return the samples in a file of a float sound, in steps of its format."""
    bits = int(subtype[-2:])
    soundfile.write("in", sound, RATE, format=container, subtype=subtype)
    return soundfile.read("in")[0] * 2 ** (bits - 1)


rng = np.random.default_rng(0)
sound = rng.uniform(-0.9, 0.9, 3 * RATE)
noise = 1e-9 * rng.standard_normal(3 * RATE)
mean = {}
for container, subtype in (
    ("WAV", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("FLAC", "PCM_16"),
    ("WAV", "PCM_24"),
    ("FLAC", "PCM_24"),
):
    error = written(sound, container, subtype) - sound * 2 ** (int(subtype[-2:]) - 1)
    silence = np.unique(written(noise, container, subtype)).astype(int).tolist()
    mean[container, subtype] = error.mean()
    print(
        f"{container:4} {subtype}: mean error {error.mean():+.2f}, rms "
        f"{np.sqrt(np.mean(error**2)):.2f}; silence -> {silence}"
    )
tracks = rng.uniform(-0.1, 0.1, (8, RATE))
rest = {
    container: sum(written(track, container, "PCM_16") for track in tracks).mean()
    - 32768 * tracks.sum(0).mean()
    for container in ("WAV", "FLAC")
}
print(
    f"8 tracks minus their mixture: WAV {rest['WAV']:.2f} steps on average, "
    f"FLAC {rest['FLAC']:.2f}"
)
down = all(abs(value + 0.5) < 0.02 for (name, _), value in mean.items() if name != "FLAC")
nearest = all(abs(value) < 0.02 for (name, _), value in mean.items() if name == "FLAC")
if not (down and nearest):
    sys.exit("changed: expected half a step too low in all files but FLAC")
END
