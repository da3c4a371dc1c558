#!/usr/bin/env bash
# mir_eval 0.8.2: an estimate one sample early scores -12 dB, one 511 samples late 98
# dB.
#
# What happens: bss_eval_sources allows each reference a filter of 512 taps before it
# counts an error. The filter is causal: an estimate may be up to 511 samples late for
# free, but not a single sample early. With white sound the score falls by 110 dB
# between the two.
#
# Why it matters: systems differ by constant delays (STFT with `center`, encoder delay
# of AAC or MP3, resamplers). A late system is forgiven 46 ms at 11,025 Hz, an early one
# is punished for 0.1 ms. A wrong shift in a pipeline is found by delaying the estimates
# by a few samples: if the SDR rises, they were early. SI-SDR forgives neither.
#
# Seen (white noise, two sources; the shift is that of the estimates, in samples):
#   shift   -2: SDR  -12.09 and  -11.62 dB
#   shift   -1: SDR  -12.10 and  -11.65 dB
#   shift    0: SDR   98.44 and   98.33 dB
#   shift    1: SDR   98.49 and   98.33 dB
#   shift  100: SDR   98.37 and   98.37 dB
#   shift  511: SDR   98.43 and   98.26 dB
#   shift  512: SDR  -12.10 and  -11.65 dB
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet mir_eval==0.8.2 numpy==2.4.6 scipy==1.17.1
cd "$tmp"
venv/bin/python - <<'END'
import sys
import warnings

import mir_eval
import numpy as np

warnings.simplefilter("ignore")  # mir_eval.separation is deprecated
rng = np.random.default_rng(0)
references = np.zeros((2, 12000))
references[:, 2000:10000] = rng.standard_normal((2, 8000))  # silent at both ends
sdr = {}
for shift in (-2, -1, 0, 1, 100, 511, 512):
    estimates = np.roll(references, shift, axis=1)
    estimates = estimates + 1e-5 * rng.standard_normal(estimates.shape)
    sdr[shift], *_ = mir_eval.separation.bss_eval_sources(references, estimates, False)
    print(f"shift {shift:4}: SDR {sdr[shift][0]:7.2f} and {sdr[shift][1]:7.2f} dB")
late = min(sdr[shift].min() for shift in (0, 1, 100, 511))
early = max(sdr[shift].max() for shift in (-2, -1, 512))
if not (late > 80 and early < 0):
    sys.exit("changed: expected high scores for delays of 0 to 511 samples only")
END
