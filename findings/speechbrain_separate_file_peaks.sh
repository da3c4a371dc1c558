#!/usr/bin/env bash
# speechbrain 1.1.2: separate_file() scales each estimate to a peak of 1.
#
# What happens: SepformerSeparation.separate_batch returns what the network computes.
# separate_file, on the same sound, divides each estimate by its own maximum. A source
# that is hardly heard comes back as loud as the one that covers it, a residue of an
# absent source as loud as music, and an estimate that is exactly silent as NaN. Neither
# the docstring nor an option mentions it.
#
# Why it matters: separate_file is the one-line use of every model card. Its estimates
# do not add up to the mixture, "which source is louder?" and "is it there at all?"
# cannot be asked of them, and SNR or L1 measure the scaling. Load the sound and call
# separate_batch.
#
# Seen (a network that separates exactly; peaks of two sources and of a silent one; SNR of
# the two, limited to 100):
#   true sources  : peaks 0.80 0.02 0.00, SNR 100.0 and 100.0 dB
#   separate_batch: peaks 0.80 0.02 0.00, SNR 100.0 and 100.0 dB
#   separate_file : peaks 1.00 1.00 nan, SNR  12.0 and -33.8 dB
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.11.0 torchaudio==2.11.0 numpy==2.4.6 \
    soundfile==0.14.0 speechbrain==1.1.2
cd "$tmp"
venv/bin/python -W ignore - <<'END'
import sys

import soundfile
import torch
from speechbrain.inference.separation import SepformerSeparation

RATE = 8000
time = torch.arange(RATE) / RATE
first, second = (time < 0.5).float(), (time >= 0.5).float()
loud = 0.8 * torch.sin(2 * torch.pi * 440 * time) * first
quiet = 0.02 * torch.sin(2 * torch.pi * 660 * time) * second
sources = torch.stack([loud, quiet, torch.zeros(RATE)])
soundfile.write("in.wav", sources.sum(0).numpy(), RATE, subtype="FLOAT")


class Masks(torch.nn.Module):
    """Each source sounds in its own half: these masks are exact."""

    def forward(self, mixture):
        return torch.stack([first, second, torch.zeros(RATE)])[:, None]


model = SepformerSeparation(
    modules={
        "encoder": torch.nn.Identity(),
        "masknet": Masks(),
        "decoder": torch.nn.Identity(),
    },
    hparams={"num_spks": 3, "sample_rate": RATE},
)
mixture, _ = soundfile.read("in.wav", dtype="float32")
estimates = {
    "true sources": sources,
    "separate_batch": model.separate_batch(torch.from_numpy(mixture)[None])[0].T,
    "separate_file": model.separate_file("in.wav")[0].T,
}
peaks = {}
for name, found in estimates.items():
    peaks[name] = found.abs().amax(1).tolist()
    texts = " ".join(f"{peak:.2f}" for peak in peaks[name])
    error = (found[:2] - sources[:2]).square().sum(1).clamp_min(1e-12)
    snr = (10 * (sources[:2].square().sum(1) / error).log10()).clamp_max(100).tolist()
    print(f"{name:14}: peaks {texts}, SNR {snr[0]:5.1f} and {snr[1]:5.1f} dB")
exact = peaks["separate_batch"] == peaks["true sources"]
if not (exact and peaks["separate_file"][:2] == [1, 1]):
    sys.exit("changed: expected peaks of 1 from separate_file only")
END
