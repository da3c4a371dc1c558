#!/usr/bin/env python3
"""Where the time of a training went, read from its train.log.

    python tests/benchmarks/training_time.py egs2/mini_music/exp/<experiment>/train.log

Start-up is what passes before the first epoch; "between epochs" is the writing of
checkpoints, of the log's plots and of the best model.
"""

import argparse
import re
import sys
from datetime import datetime
from typing import Dict, List, Optional, Sequence

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
STEP = ("iter_time", "forward_time", "backward_time", "optim_step_time", "train_time")


def duration(text: str) -> float:
    """Read "6 minutes and 8.72 seconds", as the trainer writes it, as seconds."""
    found = re.findall(r"([\d.]+) (second|minute|hour|day)s?", text)
    return sum(float(number) * UNITS[unit] for number, unit in found)


def clock(line: str) -> Optional[datetime]:
    """Return a log line's time, if it has one."""
    launched = re.match(r"# Started at (.*) \S+ (\d{4})$", line)
    if launched:
        text = f"{launched[1]} {launched[2]}"
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y")
    found = re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", line)
    return found and datetime.strptime(found[0], "%Y-%m-%d %H:%M:%S,%f")


def parse(lines: Sequence[str]) -> Dict[str, List[float]]:
    """Collect the parts of every whole epoch.

    Returns:
        Part of a step (see STEP) or of an epoch -> one value an epoch; "start-up" and
        "steps" too.
    """
    parts: Dict[str, List[float]] = {}
    times = [time for line in lines if (time := clock(line))]
    started = [clock(line) for line in lines if re.search(r"\d+epoch started", line)]
    if not started:
        raise SystemExit("no epoch has begun in this log")
    parts["start-up"] = [(started[0] - times[0]).total_seconds()]
    ends = [*started[1:], times[-1]]
    results = [line for line in lines if "epoch results:" in line]
    for begin, end, line in zip(started, ends, results, strict=False):
        train, _, rest = line.partition("[valid]")
        valid, _, pictures = rest.partition("[att_plot]")
        for name in STEP:
            found = re.search(rf"\b{name}=([\d.e+-]+)", train)
            parts.setdefault(name, []).append(float(found[1]))
        steps = re.search(r"total_count=(\d+)", train)
        parts.setdefault("steps", []).append(float(steps[1]))
        spent = 0.0
        for name, text in (
            ("training", train),
            ("validation", valid),
            ("pictures", pictures),
        ):
            found = re.search(r"[, ]time=([^=]*?), total_count", text)
            parts.setdefault(name, []).append(duration(found[1]) if found else 0.0)
            spent += parts[name][-1]
        between = (end - begin).total_seconds() - spent
        parts.setdefault("between epochs", []).append(between)
    return parts


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", help="train.log")
    args = parser.parse_args(argv)
    with open(args.log, encoding="utf-8") as f:
        parts = parse(f.read().splitlines())
    mean = {name: sum(values) / len(values) for name, values in parts.items()}
    step = mean["train_time"]
    print("| part of a step | ms | share |\n|---|---|---|")
    other = step - sum(mean[name] for name in STEP[:-1])
    for name, value in (
        ("waiting for data", mean["iter_time"]),
        ("forward", mean["forward_time"]),
        ("backward", mean["backward_time"]),
        ("optimiser", mean["optim_step_time"]),
        ("other", other),
    ):
        print(f"| {name} | {value * 1e3:.0f} | {value / step:.1%} |")
    epoch = ("training", "validation", "pictures", "between epochs")
    total = sum(sum(parts[name]) for name in epoch) + mean["start-up"]
    print("\n| part of the run | s | share |\n|---|---|---|")
    for name in ("start-up", *epoch):
        value = sum(parts[name])
        print(f"| {name} | {value:.0f} | {value / total:.1%} |")
    print(f"\n{len(parts['training'])} epochs, {max(parts['steps']):.0f} steps in all")


if __name__ == "__main__":
    sys.exit(main())
