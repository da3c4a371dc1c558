#!/usr/bin/env bash
# torchaudio 2.11.0: high-pass, equalizer and other filters clip sound at 1.
#
# What happens: lfilter has a switch `clamp`, which is on. The filters built on it
# (highpass_biquad, equalizer_biquad, deemphasis, ...) do not offer it: whatever exceeds 1
# in their output is cut off. Neither a warning nor their documentation says so.
#
# Why it matters: floats may exceed 1, and mixtures of sources do. Filtering is then not
# linear: the filtered mixture is not the sum of the filtered sources, so that a training
# pair of both is wrong; sound in the range of int16 is lost altogether. Scale first, or
# call lfilter(..., clamp=False) with the coefficients.
#
# Seen (two tones, peaks 0.8 and 0.9; SDR of the filtered mixture against the sum of the
# filtered sources):
#   highpass_biquad : peak of the mixture 1.00, of the sum 1.70, SDR 12.0 dB
#   lowpass_biquad  : peak of the mixture 1.00, of the sum 1.67, SDR 12.0 dB
#   equalizer_biquad: peak of the mixture 1.00, of the sum 1.67, SDR 12.0 dB
#   deemphasis      : peak of the mixture 1.00, of the sum 1.67, SDR 12.0 dB
#   clamp=False     : peak of the mixture 1.67, of the sum 1.67, SDR 163.7 dB
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.11.0 torchaudio==2.11.0 numpy==2.4.6
cd "$tmp"
venv/bin/python - <<'END'
import sys

import torch
from torchaudio import functional as F

RATE = 16000
time = torch.arange(2 * RATE) / RATE
sources = [
    0.8 * torch.sin(2 * torch.pi * 440 * time),
    0.9 * torch.sin(2 * torch.pi * 550 * time),
]
filters = {
    "highpass_biquad": lambda x: F.highpass_biquad(x, RATE, 20),
    "lowpass_biquad": lambda x: F.lowpass_biquad(x, RATE, 7000),
    "equalizer_biquad": lambda x: F.equalizer_biquad(x, RATE, 3000, 0),
    "deemphasis": lambda x: F.deemphasis(F.preemphasis(x)),
    "clamp=False": lambda x: F.lfilter(
        x, torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]), clamp=False
    ),
}
sdr = {}
for name, process in filters.items():
    mixture = process(sources[0] + sources[1])
    parts = process(sources[0]) + process(sources[1])
    ratio = parts.square().sum() / (mixture - parts).square().sum().clamp_min(1e-12)
    sdr[name] = 10 * ratio.log10().item()
    print(
        f"{name:16}: peak of the mixture {mixture.abs().max():.2f}, of the sum "
        f"{parts.abs().max():.2f}, SDR {sdr[name]:.1f} dB"
    )
if not (max(v for k, v in sdr.items() if k != "clamp=False") < 30 < sdr["clamp=False"]):
    sys.exit("changed: expected clipped mixtures from all filters but lfilter")
END
