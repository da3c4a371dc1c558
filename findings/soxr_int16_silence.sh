#!/usr/bin/env bash
# soxr 1.1.0: resampled int16 silence is no longer silent.
#
# What happens: soxr.resample adds dither when its data are int16. Zeros become a fixed
# noise of -1, 0 and 1; other sound differs by up to two steps from the float result
# rounded to int16. float32 and float64 stay zero. The noise is the same in every call,
# so a check for repeatable results does not find it. No option turns it off.
#
# Why it matters: "is this source silent?" is asked of samples (`if not x.any()`), since
# SDR is undefined for silent references. After soxr on int16 the answer changes: the
# silent clip is scored, with an SDR about one bit of noise. Resample in float, round
# afterwards.
#
# Seen:
#   int16   silence: 3734 of 16000 samples are not 0, values [-1, 0, 1]
#   float32 silence: 0 of 16000 samples are not 0, values [0.0]
#   float64 silence: 0 of 16000 samples are not 0, values [0.0]
#   int16   tone: 32% differ from the rounded float result
#   int16   tone: two calls are equal: True
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 soxr==1.1.0
cd "$tmp"
venv/bin/python - <<'END'
import sys

import numpy as np
import soxr

silence = np.zeros(44100)
tone = np.rint(1000 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100))
nonzero = {}
for dtype in (np.int16, np.float32, np.float64):
    out = soxr.resample(silence.astype(dtype), 44100, 16000)
    nonzero[dtype] = np.count_nonzero(out)
    print(
        f"{np.dtype(dtype).name:7} silence: {nonzero[dtype]} of {len(out)} samples are "
        f"not 0, values {np.unique(out).tolist()}"
    )
rounded = np.rint(soxr.resample(tone, 44100, 16000))
out = soxr.resample(tone.astype(np.int16), 44100, 16000)
same = np.array_equal(out, soxr.resample(tone.astype(np.int16), 44100, 16000))
print(f"int16   tone: {np.mean(out != rounded):.0%} differ from the rounded float result")
print(f"int16   tone: two calls are equal: {same}")
if not (nonzero[np.int16] and not nonzero[np.float32] and not nonzero[np.float64]):
    sys.exit("changed: expected noise from int16 only")
END
