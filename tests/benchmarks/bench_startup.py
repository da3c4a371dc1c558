#!/usr/bin/env python3
"""Seconds until each command has printed its help, and what training imports first."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]
GOAL_SECONDS = 0.5
IMPORTS = (
    "torch",
    "espnet2_avsep.inference.separate",
    "espnet2_avsep.tasks.avsep",
    "open_clip",
    "espnet2_avsep.teacher.clap_teacher",
    "laion_clap",
)


def seconds(*command: str, rounds: int) -> float:
    """Return the median time of ``python <command>``, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, check=True
        )
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the benchmark; 1 if a help takes longer than the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="for the medians")
    parser.add_argument("--imports", action="store_true", help="time imports as well")
    args = parser.parse_args(argv)
    print("| command | s |\n|---|---|")
    missed = 0
    for path in sorted((ROOT / "espnet2_avsep" / "bin").glob("avsep*.py")):
        module = f"espnet2_avsep.bin.{path.stem}"
        value = seconds("-m", module, "--help", rounds=args.rounds)
        missed |= value > GOAL_SECONDS
        print(f"| {path.stem} --help | {value:.2f} |", flush=True)
    if args.imports:
        for name in IMPORTS:
            code = f"import os; os.environ['HF_HUB_OFFLINE'] = '1'; import {name}"
            value = seconds("-c", code, rounds=min(args.rounds, 2))
            print(f"| import {name} | {value:.1f} |", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
