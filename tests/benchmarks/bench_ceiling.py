#!/usr/bin/env python3
"""How much of a training step is the time of its convolutions and matrix products.

The calls of one step (forward pass and both backward passes: of the input and of the
weight) are recorded: shapes, types, strides of memory. Each is then run alone on random
numbers, convolutions in both memory formats of which the faster counts, in turn with
the whole step. Their sum is the least that the step could take on this machine with the
same arithmetic; the rest is what is between them. All in CPU seconds, which another
process on the machine changes less than wall seconds.

HFRA's decoder computes its convolutions at low resolution as matrix products, so that
for it, both together are the ceiling.
"""

import argparse
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.common import build_parser, circumstances, prepare

SYSTEMS = (
    *("hfra", "iquery", "dgfnet", "sound_of_pixels", "clipsep_late"),
    "clipsep_middle",
)
GOAL = {"hfra": 0.7}
CONVOLUTIONS = ("convolution", "convolution_backward")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
HEADER = (
    "| system | step | convolutions alone | matrix products alone | both / step | goal "
    "|\n|---|---|---|---|---|---|"
)


class Tensor(NamedTuple):
    """What is recorded of a tensor."""

    shape: Tuple[int, ...]
    stride: Tuple[int, ...]
    dtype: Any


class Call(NamedTuple):
    """A call of an operation; tensors in ``args`` are :class:`Tensor`."""

    operation: Any
    args: Tuple[Any, ...]

    @property
    def name(self) -> str:
        """Such as "convolution"."""
        return self.operation.overloadpacket.__name__


def get_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = build_parser(__doc__, rounds=3, threads=1)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS))
    return parser


def record(step: Callable[[], None]) -> Counter:
    """Run a step; return how often it makes each call."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    calls: Counter = Counter()

    def describe(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return Tensor(tuple(value.shape), value.stride(), value.dtype)
        return tuple(value) if isinstance(value, list) else value

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            packet = func.overloadpacket
            if packet.__name__ in CONVOLUTIONS + PRODUCTS:
                # Those into memory that is there already are alike.
                calls[Call(packet.default, tuple(map(describe, args)))] += 1
            return func(*args, **(kwargs or {}))

    with Recorder():
        step()
    return calls


def alone(call: Call) -> List[Callable[[], Any]]:
    """Return ways to run a call on random numbers, of which the fastest counts."""
    import torch

    def make(value: Any, memory_format: Any) -> Any:
        if not isinstance(value, Tensor):
            return list(value) if isinstance(value, tuple) else value
        last = sum((n - 1) * m for n, m in zip(value.shape, value.stride, strict=True))
        tensor = torch.randn(last + 1, dtype=value.dtype)
        tensor = tensor.as_strided(value.shape, value.stride)
        if memory_format is not None and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=memory_format)
        return tensor

    formats = [None]
    if call.name in CONVOLUTIONS:
        formats = [torch.contiguous_format, torch.channels_last]

    def way(memory_format: Any) -> Callable[[], Any]:
        args = [make(value, memory_format) for value in call.args]
        return lambda: call.operation(*args)

    return [way(memory_format) for memory_format in formats]


def seconds(run: Callable[[], Any]) -> float:
    """CPU seconds of a run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def measure(system: str, batch_size: int, rounds: int) -> Tuple[float, float, float]:
    """CPU seconds of a step, of its convolutions alone, of its products alone."""
    import torch

    from tests.benchmarks.bench_systems import steps_of

    step = steps_of(system, batch_size)[0]
    step()
    calls = record(step)
    of_step: List[float] = []
    of_calls: Dict[Call, List[List[float]]] = {call: [] for call in calls}
    for _ in range(rounds):
        of_step.append(seconds(step))
        with torch.no_grad():
            for call, found in of_calls.items():
                ways = alone(call)
                for way in ways:
                    way()  # does not count
                found.append([seconds(way) for way in ways])

    def total(names: Sequence[str]) -> float:
        return sum(
            calls[call] * min(map(statistics.median, zip(*found, strict=True)))
            for call, found in of_calls.items()
            if call.name in names
        )

    return statistics.median(of_step), total(CONVOLUTIONS), total(PRODUCTS)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a goal is missed."""
    args = get_parser().parse_args(argv)
    prepare(args)
    import torch

    torch.set_num_threads(args.threads)
    print(circumstances(args))
    print(f"batch {args.batch_size}, CPU seconds\n\n{HEADER}")
    missed = False
    for system in args.systems:
        step, convolutions, products = measure(system, args.batch_size, args.rounds)
        share = (convolutions + products) / step
        goal = GOAL.get(system)
        missed |= goal is not None and share < goal
        print(
            f"| {system} | {step:.2f} s | {convolutions:.2f} s "
            f"({convolutions / step:.0%}) | {products:.2f} s ({products / step:.0%}) | "
            f"{share:.0%} | {'' if goal is None else f'{goal:.0%}'} |",
            flush=True,
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
