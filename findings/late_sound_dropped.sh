#!/usr/bin/env bash
# imageio-ffmpeg 0.8.1 (FFmpeg 9.0.2), moviepy 2.2.1, decord 0.6.0: sound that begins
# late, or has a gap, is moved to the front.
#
# What happens: `ffmpeg -i in.mp4 out.wav` writes the samples that are there one after
# the other. A WAV has no time stamps: if the sound of a video begins at 1 s, or half a
# second of it is missing in the middle, all that follows is too early by that much.
# moviepy and decord.AudioReader do the same, moviepy also where it pairs the sound with
# the pictures of the same file. Nothing is reported. `-af aresample=async=1:first_pts=0`
# fills both with silence; PyAV's frame.time tells the right time.
#
# Why it matters: extracting WAVs is the first step of nearly every audio-visual corpus.
# Cut, recorded and streamed videos have such sound. Each of its notes is then paired
# with the pictures of another moment, and length and loudness look right.
#
# Seen (a white picture and a click, both at 3 s):
#   begins at 1 s     : flash 3.00 s, click 3.00 s (PyAV)
#     ffmpeg to WAV 2.00 s, with aresample 3.00 s, moviepy 2.00 s, decord 2.00 s
#   0.5 s are missing : flash 3.00 s, click 3.00 s (PyAV)
#     ffmpeg to WAV 2.51 s, with aresample 3.00 s, moviepy 2.51 s, decord 2.51 s
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 decord==0.6.0 imageio==2.38.1 \
    imageio-ffmpeg==0.8.1 moviepy==2.2.1 numpy==2.4.6 soundfile==0.14.0
cd "$tmp"
venv/bin/python - <<'END'
import subprocess
import sys
from fractions import Fraction

import av
import decord
import imageio_ffmpeg
import numpy as np
import soundfile
from moviepy import VideoFileClip

RATE = 44100
sound = np.zeros(4 * RATE, np.float32)
sound[3 * RATE : 3 * RATE + 60] = 0.9


def write(lost):
    """Write 4 s of video, and those blocks of sound that are not lost."""
    with av.open("in.mp4", "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width = video.height = 64
        audio = file.add_stream("aac", rate=RATE, layout="mono")
        file.start_encoding()
        for number in range(100):
            picture = np.full((64, 64, 3), 255 if number == 75 else 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for start in range(0, len(sound), 1024):
            if lost[0] <= start / RATE < lost[1]:
                continue
            block = sound[None, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            frame.time_base = Fraction(1, RATE)
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))


def click(samples):
    return np.argmax(np.abs(samples) > 0.2) / RATE


def by_ffmpeg(*options):
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    command = [exe, "-v", "error", "-y", "-i", "in.mp4", *options, "out.wav"]
    subprocess.run(command, check=True)
    return click(soundfile.read("out.wav")[0])


early = []
for name, lost in (("begins at 1 s", (0, 1)), ("0.5 s are missing", (2, 2.5))):
    write(lost)
    with av.open("in.mp4") as file:
        flash = [f.time for f in file.decode(video=0) if f.to_ndarray()[:64].mean() > 150]
    with av.open("in.mp4") as file:
        right = next(
            frame.time + click(frame.to_ndarray()[0])
            for frame in file.decode(audio=0)
            if np.abs(frame.to_ndarray()).max() > 0.2
        )
    clip = VideoFileClip("in.mp4")
    found = {
        "ffmpeg to WAV": by_ffmpeg(),
        "with aresample": by_ffmpeg("-af", "aresample=async=1:first_pts=0"),
        "moviepy": click(clip.audio.to_soundarray(fps=RATE)[:, 0]),
        "decord": click(decord.AudioReader("in.mp4", sample_rate=RATE)[:].asnumpy()[0]),
    }
    clip.close()
    print(f"{name:18}: flash {flash[0]:.2f} s, click {right:.2f} s (PyAV)")
    print("  " + ", ".join(f"{reader} {time:.2f} s" for reader, time in found.items()))
    if abs(found.pop("with aresample") - right) > 0.05:
        sys.exit("changed: expected aresample to keep the time")
    early += [right - time for time in found.values()]
if min(early) < 0.4:
    sys.exit("changed: expected sound that is 1 s and 0.5 s too early")
END
