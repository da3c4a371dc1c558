#!/usr/bin/env bash
# PyAV 18.1.0 (SVT-AV1 4.1 in its wheel): as root, encoding AV1 makes the calling process a
# real-time one.
#
# What happens: when the encoder libsvtav1 is opened by root, the calling thread gets the
# scheduling policy SCHED_FIFO with priority 99, and keeps it after the encoder is closed.
# Processes that it starts later inherit it. For any other user nothing changes.
#
# Why it matters: containers usually run as root. A preparation script that writes one AV1
# clip and then goes on, or starts its data workers, leaves no time to other processes of
# the machine, whatever their nice value. Restore the policy after encoding
# (os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))), or encode as another user.
#
# Seen (as root):
#   before: policy 0 (SCHED_OTHER), priority 0
#   after:  policy 1 (SCHED_FIFO), priority 99
set -euo pipefail
if [ "$(id -u)" -ne 0 ]; then
    echo "not root: this finding shows only as root, nothing was tried"
    exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$tmp"
SVT_LOG=0 venv/bin/python - << 'END'
import os
import sys

import av
import numpy as np

NAMES = {os.SCHED_OTHER: "SCHED_OTHER", os.SCHED_FIFO: "SCHED_FIFO"}


def policy(when):
    found, priority = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    name = NAMES.get(found, "?")
    print(f"{when:7} policy {found} ({name}), priority {priority}")
    return found, priority


before = policy("before:")
with av.open("a.mp4", "w") as container:
    stream = container.add_stream("libsvtav1", rate=10)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for n in range(3):
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        frame.pts = n
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
after = policy("after:")
if (before, after) != ((os.SCHED_OTHER, 0), (os.SCHED_FIFO, 99)):
    sys.exit("changed: expected SCHED_FIFO with priority 99 after encoding only")
END
