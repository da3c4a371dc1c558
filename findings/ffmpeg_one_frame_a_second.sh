#!/usr/bin/env bash
# imageio-ffmpeg 0.8.1 (FFmpeg 9.0.2): `-vf fps=1` and `-r 1` return pictures 1.6 s apart.
#
# What happens: both ask for one picture a second. The filter rounds times to the nearest
# second: picture n is the last one before n + 0.5 s, almost half a second after n.
# Picture 0 of `-r 1` shows 0 s, but picture 1 shows 0.04 s, and picture n about n - 1.1
# s; there are 12 of them in 10 s. At 8 pictures a second (Sound of Pixels) they differ
# by 0.2 s. `fps=1:round=up` returns the picture at n or the last one before it.
#
# Why it matters: "picture n shows second n" is how extracted pictures are paired with
# sound, and one picture a second is usual for AVE, AudioSet and VGGSound. Two folders
# that differ in this option differ by 1.6 s: pictures show another note, and the number
# of a file does not tell. Decode all pictures and choose by their times.
#
# Seen (10 s, 25 pictures a second; what pictures 0, 1, 2, ... show, in seconds):
#   -vf fps=1            10 pictures: 0.48 1.48 2.48 3.48 4.48 ... 9.48
#   -r 1                 12 pictures: 0.00 0.04 0.88 1.88 2.88 ... 9.88
#   -vf fps=1:round=up   10 pictures: 0.00 1.00 2.00 3.00 4.00 ... 9.00
#   -vf fps=8            80 pictures: 0.04 0.16 0.28 0.40 0.56 ... 9.92
#   -r 8                 82 pictures: 0.00 0.04 0.08 0.20 0.36 ... 9.96
#   -vf fps=8:round=up   80 pictures: 0.00 0.12 0.24 0.36 0.48 ... 9.84
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet imageio-ffmpeg==0.8.1 numpy==2.4.6
cd "$tmp"
venv/bin/python - <<'END'
import subprocess
import sys

import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
GRAY = ("-f", "rawvideo", "-pix_fmt", "gray")


def ffmpeg(*arguments, data=None):
    command = [FFMPEG, "-v", "error", "-y", *arguments]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


pictures = np.full((250, 16, 16), np.arange(250, dtype=np.uint8)[:, None, None])
source = (*GRAY, "-s", "16x16", "-r", "25", "-i", "-")
ffmpeg(*source, "-c:v", "ffv1", "in.mkv", data=pictures.tobytes())  # lossless
shown = {}
for options in (
    ("-vf", "fps=1"),
    ("-r", "1"),
    ("-vf", "fps=1:round=up"),
    ("-vf", "fps=8"),
    ("-r", "8"),
    ("-vf", "fps=8:round=up"),
):
    raw = ffmpeg("-i", "in.mkv", *options, *GRAY, "-")
    times = np.frombuffer(raw, np.uint8).reshape(-1, 16, 16)[:, 8, 8] / 25
    name = " ".join(options)
    shown[name] = times
    first = " ".join(f"{time:.2f}" for time in times[:5])
    print(f"{name:20} {len(times)} pictures: {first} ... {times[-1]:.2f}")
apart = shown["-vf fps=1"][2:10] - shown["-r 1"][2:10]
if not (apart.min() > 1.4 and (shown["-vf fps=1:round=up"] == np.arange(10)).all()):
    sys.exit("changed: expected pictures of the filter and of -r more than 1.4 s apart")
END
