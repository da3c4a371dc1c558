#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2) with PyAV 18.1.0 (FFmpeg 8.1.2): channels of an
# Ogg file of 3, 5 or 6 channels change places, and channel 6 of 6 loses its sound.
#
# What happens: Vorbis and Opus fix an order of channels (left, centre, right, ..., low
# frequencies last). libsndfile writes and reads channels in the order of the array, so
# a round trip through it looks right; FFmpeg follows the standard and sorts them into
# its own order (left, right, centre, ...). Both encoders take channel 6 of 6 for the
# one of low frequencies: a tone of 2,400 Hz there is gone. Mono, stereo and four
# channels are safe.
#
# Why it matters: multi-channel stems in Ogg are a common way to save space. Written
# with soundfile and read with FFmpeg (PyAV, torchaudio, players), each source carries
# another source's name, without an error. Scores are then those of a permutation.
#
# Seen (a number names the channel of the array that the sound comes from; 0: none):
#   VORBIS soundfile [1, 2], PyAV [1, 2]
#   VORBIS soundfile [1, 2, 3], PyAV [1, 3, 2]
#   VORBIS soundfile [1, 2, 3, 4], PyAV [1, 2, 3, 4]
#   VORBIS soundfile [1, 2, 3, 4, 5], PyAV [1, 3, 2, 4, 5]
#   VORBIS soundfile [1, 2, 3, 4, 5, 0], PyAV [1, 3, 2, 0, 4, 5]
#   OPUS   soundfile [1, 2], PyAV [1, 2]
#   OPUS   soundfile [1, 2, 3], PyAV [1, 3, 2]
#   OPUS   soundfile [1, 2, 3, 4], PyAV [1, 2, 3, 4]
#   OPUS   soundfile [1, 2, 3, 4, 5], PyAV [1, 3, 2, 4, 5]
#   OPUS   soundfile [1, 2, 3, 4, 5, 0], PyAV [1, 3, 2, 0, 4, 5]
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

RATE = 48000


def origins(sound):
    """Channel k of the array was a tone of k times 400 Hz: k of each row, 0 if silent."""
    spectra = np.abs(np.fft.rfft(sound[:, :RATE]))[:, 400:2801:400]  # bins of 1 Hz
    return [int(row.argmax()) + 1 if row.max() > 100 else 0 for row in spectra]


seen = {}
for codec in ("VORBIS", "OPUS"):
    for channels in (2, 3, 4, 5, 6):
        tones = 400 * np.arange(1, channels + 1)
        sound = 0.1 * np.sin(2 * np.pi * np.arange(RATE)[:, None] / RATE * tones)
        soundfile.write("in.ogg", sound, RATE, format="OGG", subtype=codec)
        own = origins(soundfile.read("in.ogg")[0].T)
        with av.open("in.ogg") as file:
            frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
        seen[codec, channels] = origins(np.concatenate(frames, 1))
        print(f"{codec:6} soundfile {own}, PyAV {seen[codec, channels]}")
kept = all(seen[codec, n] == list(range(1, n + 1)) for codec, n in seen if n in (2, 4))
moved = all(seen[codec, n][:3] == [1, 3, 2] for codec, n in seen if n in (3, 5, 6))
if not (kept and moved and 0 in seen["OPUS", 6] and 0 in seen["VORBIS", 6]):
    sys.exit("changed: expected 1, 3, 2 for 3, 5, 6 channels and no sound of channel 6")
END
