#!/usr/bin/env bash
# speechbrain 1.1.2: AddNoise makes the clean sound quieter inside the noisy one.
#
# What happens: for a signal-to-noise ratio of s dB, AddNoise multiplies the clean sound
# by a / (1 + a) with a = 10^(s/20), and adds noise that fits. The ratio is right, the
# clean part is not the one that went in: half of it at 0 dB, 0.91 at 20 dB. The
# documentation says that the class "additively combines a noise signal to the input
# signal"; `normalize` has nothing to do with it.
#
# Why it matters: in separation and enhancement the clean sound is also the target. A
# network that learns (noisy, clean) pairs by L1, MSE or SNR learns to amplify, by an
# amount that it must guess from the noise: a mask needs values up to 2 at 0 dB. Its
# estimates are too loud for real mixtures; SI-SDR does not see it. Other sources of the
# mixture need the same factor, which is not returned. Add noise yourself.
#
# Seen (white noise; the ratio of the clean sound as it is inside the noisy one, and SNR of
# the noisy sound against the clean one that went in):
#   SNR  0 dB: clean x 0.50, its ratio to the noise -0.0 dB, SNR of noisy against clean  3.0 dB
#   SNR  5 dB: clean x 0.64, its ratio to the noise  5.0 dB, SNR of noisy against clean  5.9 dB
#   SNR 10 dB: clean x 0.76, its ratio to the noise 10.0 dB, SNR of noisy against clean  9.3 dB
#   SNR 20 dB: clean x 0.91, its ratio to the noise 20.0 dB, SNR of noisy against clean 17.8 dB
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.11.0 torchaudio==2.11.0 numpy==2.4.6 \
    speechbrain==1.1.2
cd "$tmp"
venv/bin/python -W ignore - <<'END'
import sys

import torch
from speechbrain.augment.time_domain import AddNoise

torch.manual_seed(0)
time = torch.arange(32000) / 16000
clean = 0.1 * torch.sin(2 * torch.pi * 440 * time)[None]
gain = {}
for ratio in (0, 5, 10, 20):
    noisy = AddNoise(snr_low=ratio, snr_high=ratio)(clean, torch.ones(1))
    gain[ratio] = ((noisy * clean).sum() / clean.square().sum()).item()
    part = gain[ratio] * clean
    inside = 10 * (part.square().sum() / (noisy - part).square().sum()).log10().item()
    against = 10 * (clean.square().sum() / (noisy - clean).square().sum()).log10().item()
    print(
        f"SNR {ratio:2} dB: clean x {gain[ratio]:.2f}, its ratio to the noise "
        f"{inside:4.1f} dB, SNR of noisy against clean {against:4.1f} dB"
    )
if not (abs(gain[0] - 0.5) < 0.02 and gain[0] < gain[5] < gain[10] < gain[20] < 0.95):
    sys.exit("changed: expected a gain of a / (1 + a)")
END
