#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 with a file of PyAV 18.1.0: times of pictures count
# from the first picture, not from the file's start.
#
# What happens: in a video whose first picture is at 1 s while the sound begins at 0 s,
# VideoCapture.get(CAP_PROP_POS_MSEC) is 0 for that picture. The second is missing from
# all times that OpenCV gives, and there is no property with the first picture's time.
#
# Why it matters: pictures are read with OpenCV and sound with another library in much
# code of this field. Recordings cut without encoding them again, and screen recordings,
# often begin with sound alone: picture and sound are then paired with a constant shift.
# Take the stream's start from PyAV or ffprobe and add it.
#
# Seen (a white picture and a click, both at 2 s of the file):
#   in.mp4: flash at 2.00 s (PyAV), 1.00 s (OpenCV); click at 2.00 s
#   in.mkv: flash at 2.00 s (PyAV), 1.00 s (OpenCV); click at 2.00 s
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
cd "$tmp"
venv/bin/python - <<'END'
import sys
from fractions import Fraction

import av
import cv2
import numpy as np

RATE = 48000
sound = np.zeros(3 * RATE, np.float32)
sound[2 * RATE : 2 * RATE + 60] = 0.9
seen = {}
for name in ("in.mp4", "in.mkv"):
    with av.open(name, "w") as file:
        video = file.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width = video.height = 64
        audio = file.add_stream("aac", rate=RATE, layout="mono")
        for start in range(0, len(sound), 1024):
            block = sound[None, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            frame.time_base = Fraction(1, RATE)
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
        for number in range(25, 75):  # pictures from 1 s to 3 s
            picture = np.full((64, 64, 3), 255 if number == 50 else 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    with av.open(name) as file:
        flash = [f.time for f in file.decode(video=0) if f.to_ndarray()[:64].mean() > 150]
    with av.open(name) as file:
        frames = list(file.decode(audio=0))
    decoded = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    click = frames[0].time + np.argmax(np.abs(decoded) > 0.4) / RATE
    capture = cv2.VideoCapture(name)
    times = []
    while (read := capture.read())[0]:
        if read[1].mean() > 150:
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    seen[name] = times[0]
    print(
        f"{name}: flash at {flash[0]:.2f} s (PyAV), {times[0]:.2f} s (OpenCV); "
        f"click at {click:.2f} s"
    )
if any(abs(time - 1) > 0.05 for time in seen.values()):
    sys.exit("changed: expected OpenCV to place the flash at 1 s")
END
