#!/usr/bin/env bash
# pedalboard 0.9.26: MP3s are read 1105 samples later than by soundfile and PyAV.
#
# What happens: the first frame of an MP3 (Info or Xing) states how many samples encoder
# and decoder have put before the sound and behind it. soundfile and FFmpeg (PyAV) cut
# them off; pedalboard.io.AudioFile returns them: 1105 samples of silence first, and a
# longer file. `frames` counts them, too. FLAC is read alike by all.
#
# Why it matters: pedalboard is chosen for its speed. Sound is then 25 ms behind its
# pictures at 44.1 kHz and 100 ms at 11,025 Hz, and tables of times or lengths that were
# made with another library do not fit. A reference read by one and a mixture read by the
# other do not cancel; BSS Eval forgives only 511 samples.
#
# Seen (noise of 2 s, written by soundfile; length and delay of what is read, in samples):
#   44100 Hz mp3 : soundfile 88200, 0 late; PyAV 88200, 0 late; pedalboard 89856, 1105 late
#   22050 Hz mp3 : soundfile 44100, 0 late; PyAV 44100, 0 late; pedalboard 45504, 1105 late
#   11025 Hz mp3 : soundfile 22050, 0 late; PyAV 22050, 0 late; pedalboard 23616, 1105 late
#   44100 Hz flac: soundfile 88200, 0 late; PyAV 88200, 0 late; pedalboard 88200, 0 late
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6 pedalboard==0.9.26 \
    soundfile==0.14.0
cd "$tmp"
venv/bin/python - <<'END'
import sys

import av
import numpy as np
import soundfile
from pedalboard.io import AudioFile


def by_soundfile(name):
    return soundfile.read(name)[0]


def by_pyav(name):
    to_float = av.AudioResampler("fltp", "mono")
    with av.open(name) as file:
        parts = [p for f in file.decode(audio=0) for p in to_float.resample(f)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])


def by_pedalboard(name):
    with AudioFile(name) as file:
        return file.read(file.frames)[0]


def delay(found, sound):
    size = 2 * len(found)
    product = np.fft.rfft(found, size) * np.fft.rfft(sound, size).conj()
    shift = int(np.fft.irfft(product, size).argmax())
    return shift - size if shift > size // 2 else shift


rng = np.random.default_rng(0)
late = {}
for kind, rate in (("mp3", 44100), ("mp3", 22050), ("mp3", 11025), ("flac", 44100)):
    noise = rng.standard_normal(2 * rate)
    sound = 0.05 * np.convolve(noise, np.hanning(9), "same")  # without high frequencies
    soundfile.write(f"in.{kind}", sound, rate)
    found = {
        "soundfile": by_soundfile(f"in.{kind}"),
        "PyAV": by_pyav(f"in.{kind}"),
        "pedalboard": by_pedalboard(f"in.{kind}"),
    }
    late[kind, rate] = [delay(samples, sound) for samples in found.values()]
    texts = [
        f"{name} {len(samples)}, {shift} late"
        for (name, samples), shift in zip(found.items(), late[kind, rate])
    ]
    print(f"{rate:5} Hz {kind:4}: " + "; ".join(texts))
for (kind, _), shifts in late.items():
    if shifts != [0, 0, 1105 if kind == "mp3" else 0]:
        sys.exit("changed: expected MP3s 1105 samples late by pedalboard only")
END
