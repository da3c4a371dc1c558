#!/usr/bin/env bash
# espnet 202511: PiecewiseLinearWarmupLR jumps back to the optimizer's rate at the end.
#
# What happens: beyond the last listed step the rate is lr * sqrt(last step / step), with
# the lr of the optimizer, not the last rate of the list.
#
# Why it matters: with a list that falls, as [0, 2e-3, 1e-4], a training that goes on for
# longer than the list continues with twenty times the rate that it had come down to. End
# the list where the training ends.
#
# Seen (steps 50 and 1500 of [0, 50, 1500], rates [0, 2e-3, 1e-4], lr 2e-3):
#   step   50: 2.000e-03
#   step 1500: 1.000e-04
#   step 1501: 1.999e-03
#   step 3000: 1.414e-03
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.11.0 numpy==2.4.6 packaging typeguard
"$tmp/venv/bin/pip" install --quiet --no-deps espnet==202511
cd "$tmp"
venv/bin/python - <<'END'
import sys

import torch
from espnet2.schedulers.piecewise_linear_warmup_lr import PiecewiseLinearWarmupLR

weight = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.Adam([weight], lr=2e-3)
scheduler = PiecewiseLinearWarmupLR(
    optimizer, warmup_steps_list=[0, 50, 1500], warmup_lr_list=[0.0, 2e-3, 1e-4]
)
rates = {}
for step in range(1, 3001):
    rates[step] = optimizer.param_groups[0]["lr"]
    optimizer.step()
    scheduler.step()
for step in (50, 1500, 1501, 3000):
    print(f"step {step:4}: {rates[step]:.3e}")
falls = abs(rates[50] - 2e-3) < 1e-9 and abs(rates[1500] - 1e-4) < 1e-9
if not (falls and rates[1501] > 1.9e-3):
    sys.exit("changed: expected the rate to fall to 1e-4, and to jump to 2e-3")
END
