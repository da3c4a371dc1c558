#!/usr/bin/env bash
# pydub 0.25.1, moviepy 2.2.1: resampling to a lower rate keeps what the new rate cannot
# hold, as wrong tones.
#
# What happens: AudioSegment.set_frame_rate interpolates between neighbouring samples, and
# moviepy's to_soundarray(fps=...) takes the sample at each time. Neither removes what lies
# above half the new rate: a tone of 8,000 Hz becomes one of 3,025 Hz at 11,025 Hz, of the
# same level. Nothing warns, and sound without high frequencies is right.
#
# Why it matters: 11,025 and 16,000 Hz are this field's rates, and cymbals, strings and
# consonants lie above half of them. Their images are in the mixture and in the reference
# alike, where a score cannot see them; a model that was trained on such sound meets
# another one from librosa or FFmpeg. Resample with soxr, julius or torchaudio.
#
# Seen (a tone of 8,000 Hz at 44,100 Hz, resampled to 11,025 Hz):
#   pydub set_frame_rate  :  3025 Hz,    -0.0 dB
#   moviepy to_soundarray :  3025 Hz,     0.0 dB
#   soxr                  :  3025 Hz,  -141.5 dB
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet imageio==2.38.1 imageio-ffmpeg==0.8.1 moviepy==2.2.1 \
    numpy==2.4.6 pydub==0.25.1 soxr==1.1.0 \
    'audioop-lts==0.2.2; python_version >= "3.13"'
cd "$tmp"
venv/bin/python -W ignore - <<'END'
import sys

import numpy as np
import soxr
from moviepy import AudioArrayClip
from pydub import AudioSegment

OLD, NEW = 44100, 11025
tone = np.sin(2 * np.pi * 8000 * np.arange(3 * OLD) / OLD).astype(np.float32)


def by_pydub():
    data = np.round(32767 * tone).astype(np.int16).tobytes()
    segment = AudioSegment(data, frame_rate=OLD, sample_width=2, channels=1)
    return np.array(segment.set_frame_rate(NEW).get_array_of_samples()) / 32767


def by_moviepy():
    stereo = np.stack([tone, tone], 1)
    return AudioArrayClip(stereo, fps=OLD).to_soundarray(fps=NEW)[:, 0]


level = {}
for name, resample in (
    ("pydub set_frame_rate", by_pydub),
    ("moviepy to_soundarray", by_moviepy),
    ("soxr", lambda: soxr.resample(tone, OLD, NEW)),
):
    second = resample()[NEW // 2 : NEW // 2 + NEW]  # bins of 1 Hz
    level[name] = 10 * np.log10(2 * np.mean(second**2))
    peak = np.abs(np.fft.rfft(second * np.hanning(NEW))).argmax()
    print(f"{name:22}: {peak:5} Hz, {level[name]:7.1f} dB")
if not (min(v for k, v in level.items() if k != "soxr") > -6 and level["soxr"] < -100):
    sys.exit("changed: expected tones of about 0 dB, and none from soxr")
END
