#!/usr/bin/env bash
# lameenc 1.9.0: MP3s written with it are 1105 samples late in every reader.
#
# What happens: an MP3 encoder puts 576 samples, and a decoder another 529, before the
# sound. The file's first frame (Info or Xing) states the number, and readers skip them.
# lameenc returns the encoded blocks without that frame: soundfile and PyAV both return
# 1105 samples of silence first, and some hundred more at the end. MP3s of soundfile hold
# the frame.
#
# Why it matters: demucs writes stems with lameenc (`--mp3`, demucs.audio.encode_mp3).
# Such stems are 25 ms behind the mixture and behind stems in WAV, 100 ms at 11,025 Hz:
# mixture minus stem cancels nothing, and the SNR of a perfect stem is negative; the 511
# samples that BSS Eval forgives do not suffice. Write WAV or FLAC, or cut them off.
#
# Seen (noise of 2 s; the length and the delay of what is read, in samples; SNR against
# what was written):
#   44100 Hz lameenc  : 89856 of 88200, 1105 late (soundfile), 1105 late (PyAV); SNR  -3.0 dB
#   44100 Hz soundfile: 88200 of 88200,    0 late (soundfile),    0 late (PyAV); SNR  14.7 dB
#   22050 Hz lameenc  : 45504 of 44100, 1105 late (soundfile), 1105 late (PyAV); SNR  -2.8 dB
#   22050 Hz soundfile: 44100 of 44100,    0 late (soundfile),    0 late (PyAV); SNR  23.1 dB
#   11025 Hz lameenc  : 23616 of 22050, 1105 late (soundfile), 1105 late (PyAV); SNR  -2.6 dB
#   11025 Hz soundfile: 22050 of 22050,    0 late (soundfile),    0 late (PyAV); SNR  23.8 dB
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 lameenc==1.9.0 numpy==2.4.6 \
    soundfile==0.14.0
cd "$tmp"
venv/bin/python - <<'END'
import sys

import av
import lameenc
import numpy as np
import soundfile


def write_lameenc(sound, rate):
    encoder = lameenc.Encoder()
    encoder.set_bit_rate(320 if rate >= 32000 else 128)
    encoder.set_in_sample_rate(rate)
    encoder.set_channels(1)
    encoder.set_quality(2)
    encoder.silence()
    data = np.round(32767 * sound).astype(np.int16).tobytes()
    with open("in.mp3", "wb") as file:
        file.write(bytes(encoder.encode(data)) + bytes(encoder.flush()))


def write_soundfile(sound, rate):
    soundfile.write("in.mp3", sound, rate, format="MP3")


def decode():
    with av.open("in.mp3") as file:
        return np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)])


def delay(found, sound):
    size = 2 * len(found)
    product = np.fft.rfft(found, size) * np.fft.rfft(sound, size).conj()
    shift = int(np.fft.irfft(product, size).argmax())
    return shift - size if shift > size // 2 else shift


rng = np.random.default_rng(0)
late = {}
for rate in (44100, 22050, 11025):
    noise = rng.standard_normal(2 * rate)
    sound = 0.05 * np.convolve(noise, np.hanning(9), "same")  # without high frequencies
    for name, write in (("lameenc", write_lameenc), ("soundfile", write_soundfile)):
        write(sound, rate)
        read, other = soundfile.read("in.mp3")[0], decode()
        late[name, rate] = delay(read, sound), delay(other, sound)
        same = read[: len(sound)]
        snr = 10 * np.log10(np.sum(sound**2) / np.sum((same - sound) ** 2))
        print(
            f"{rate:5} Hz {name:9}: {len(read)} of {len(sound)}, "
            f"{late[name, rate][0]:4} late (soundfile), {late[name, rate][1]:4} late "
            f"(PyAV); SNR {snr:5.1f} dB"
        )
if any(shift != (1105, 1105) for (name, _), shift in late.items() if name == "lameenc"):
    sys.exit("changed: expected MP3s of lameenc to be 1105 samples late")
if any(shift != (0, 0) for (name, _), shift in late.items() if name == "soundfile"):
    sys.exit("changed: expected MP3s of soundfile to be in time")
END
