"""Whether bfloat16 is worth using on a device."""

import functools
import logging
import time

import torch
from torch.nn import functional as F

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
AUTO = "auto"
# Each type is timed this often, in turn; the fastest time counts.
_ROUNDS = 4
# This many times slower in both of the first rounds, it is emulated: two are enough.
_EMULATED = 8


def usable_dtype(name: str, device: torch.device | str) -> torch.dtype:
    """Return the type that ``name`` asks for, or float32 where bfloat16 is slower.

    Args:
        name: A key of ``DTYPES``, or "auto": bfloat16 where it is not slower.
        device: Where the network will compute.
    """
    if name == "float32":
        return torch.float32
    quiet = name == AUTO
    pays = bfloat16_pays(torch.device(device).type, quiet)
    return torch.bfloat16 if pays else torch.float32


@functools.cache
def bfloat16_pays(device: str, quiet: bool = False) -> bool:
    """Whether a type of device computes faster in bfloat16 than in float32.

    A CPU is measured: those without units for bfloat16 emulate it, up to 36 times more
    slowly than float32, and processor flags do not tell what torch makes of them. A GPU
    is asked. The answer is logged once, where it is no.

    Args:
        device: "cpu", "cuda", ...
        quiet: Whether it is not logged.
    """
    if device == "cuda":
        pays = torch.cuda.is_bf16_supported(including_emulation=False)
        reason = "the GPU has no units for it"
    elif device == "cpu":
        seconds = {dtype: [] for dtype in DTYPES.values()}
        for number in range(_ROUNDS):
            for dtype, measured in seconds.items():
                measured.append(_seconds(dtype))
            half, full = (min(seconds[t]) for t in (torch.bfloat16, torch.float32))
            if number > 0 and half > _EMULATED * full:
                break
        pays = half < full
        reason = f"it takes {half / full:.1f} times as long here"
    else:
        return True
    if not pays and not quiet:
        logging.warning("bfloat16 on %s: %s; computing in float32", device, reason)
    return pays


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    """Time a convolution and a matrix product on the CPU; the first call warms up."""
    maps = torch.ones(2, 64, 32, 32, dtype=dtype)
    maps = maps.to(memory_format=torch.channels_last)
    kernel = torch.ones(64, 64, 3, 3, dtype=dtype)
    rows = torch.ones(512, 512, dtype=dtype)
    start = time.perf_counter()
    F.conv2d(maps, kernel, padding=1)
    F.linear(rows, rows)
    return time.perf_counter() - start
