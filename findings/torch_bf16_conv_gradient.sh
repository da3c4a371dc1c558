#!/usr/bin/env bash
# torch 2.11.0 on a CPU with bfloat16 units: gradients of a strided convolution may be
# uninitialised memory.
#
# What happens: in the backward pass under autocast to bfloat16 (oneDNN), taps of a
# Conv2d(kernel 3, stride 2, padding 1) that meet only the convolution's own zero
# padding, as on a map of 1 x 1, keep what was in memory before; their gradient is 0.
# After NaNs have been freed, most gradients are NaN. In float32 they are 0. Padding
# with torch.nn.functional.pad, and padding=0, avoids it.
#
# Why it matters: the last blocks of a frame network on small pictures, and of a network
# on short clips, have such maps. A training in bfloat16 then skips steps because of a
# "NaN loss" that the loss does not have, or learns noise, depending on what was freed.
#
# Seen, on a CPU with AMX (Intel Xeon):
#   float32, padding=1:            0 of 200 backward passes wrong
#   bfloat16, padding=1:          200 of 200 backward passes wrong
#   bfloat16, padded before:       0 of 200 backward passes wrong
# On a CPU without bfloat16 units there may be none; the script says so and ends well.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.11.0 numpy==2.4.6
cd "$tmp"
venv/bin/python - <<'END'
import sys
from contextlib import nullcontext

import torch
from torch.nn.functional import pad

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(12, 8, 1, 1)
weight = torch.randn(8, 8, 3, 3, requires_grad=True)


def wrong(bfloat16: bool, padded: bool) -> int:
    """Count the passes in which taps that meet only padding have a gradient."""
    count = 0
    for _ in range(200):
        freed = [torch.full((n,), torch.nan) for n in (576, 1152, 4608, 100_000)]
        del freed
        weight.grad = None
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
            if padded:
                y = torch.conv2d(pad(x, (1, 1, 1, 1)), weight, stride=2)
            else:
                y = torch.conv2d(x, weight, stride=2, padding=1)
        y.float().sum().backward()
        outer = weight.grad.clone()
        outer[:, :, 1, 1] = 0  # the only tap that meets the map
        count += bool((outer != 0).any())
    return count


plain, half, padded = wrong(False, False), wrong(True, False), wrong(True, True)
print(f"float32, padding=1:         {plain:4} of 200 backward passes wrong")
print(f"bfloat16, padding=1:        {half:4} of 200 backward passes wrong")
print(f"bfloat16, padded before:    {padded:4} of 200 backward passes wrong")
if plain or padded:
    sys.exit("changed: expected right gradients in float32, and with padding before")
if "amx_bf16" not in open("/proc/cpuinfo").read():
    print("this CPU has no AMX; the behaviour was seen on one that has it")
elif not half:
    sys.exit("changed: the gradients are right in bfloat16, too")
END
