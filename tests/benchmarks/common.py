"""What the benchmarks share: interleaved timing, peak memory, one form of result."""

import argparse
import ctypes
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
MALLOCS = ("default", "keep")


@dataclasses.dataclass
class Row:
    """One line of the table: ours beside its counterpart.

    Attributes:
        what: What was measured, and under which circumstances.
        ours: Our median, in ``unit``.
        counterpart: The counterpart's median.
        unit: Of both; one that ends in "/s" is the better the greater it is.
        against: What the counterpart is.
        memory: Peak memory of ours and of the counterpart, in MiB.
        gflop: Arithmetic of ours and of the counterpart.
        difference: Greatest difference of the results, in words.
        goal: The least ratio that is aimed at.
    """

    what: str
    ours: float
    counterpart: float
    unit: str
    against: str
    memory: Optional[Tuple[float, float]] = None
    gflop: Optional[Tuple[float, float]] = None
    difference: str = ""
    goal: Optional[float] = None

    @property
    def ratio(self) -> float:
        """How many times as fast as the counterpart."""
        ratio = self.ours / self.counterpart
        return ratio if self.unit.endswith("/s") else 1 / ratio


HEADER = (
    "| what | ours | counterpart | ratio | goal | peak MiB | GFLOP | difference |\n"
    "|---|---|---|---|---|---|---|---|"
)


def format_row(row: Row) -> str:
    """Write a row of the Markdown table that HEADER begins."""

    def pair(values: Optional[Tuple[float, float]]) -> str:
        return "" if values is None else f"{values[0]:,.0f} / {values[1]:,.0f}"

    goal = "" if row.goal is None else f"{row.goal:g}x"
    return (
        f"| {row.what} | {row.ours:.3g} {row.unit} | {row.against}: "
        f"{row.counterpart:.3g} {row.unit} | {row.ratio:.1f}x | {goal} | "
        f"{pair(row.memory)} | {pair(row.gflop)} | {row.difference} |"
    )


def compare(
    ways: Dict[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuple[Dict[str, float], Dict[str, Any]]:
    """Time each way in turn, A B A B ..., after one round that does not count.

    Args:
        ways: Name -> what is timed.
        rounds: How often.
        clock: Returns seconds; time.process_time on a machine with other jobs.

    Returns:
        way -> median of its seconds, and way -> what it returned last.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in ways}
    found: Dict[str, Any] = {}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begin = clock()
            found[name] = way()
            if number:
                seconds[name].append(clock() - begin)
    return {name: statistics.median(s) for name, s in seconds.items()}, found


def build_parser(
    doc: str, rounds: int = 5, threads: int = 2
) -> argparse.ArgumentParser:
    """Build a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="for the medians")
    parser.add_argument("--threads", type=int, default=threads, help="of each process")
    parser.add_argument(
        "--malloc",
        choices=MALLOCS,
        default="keep",
        help="keep: freed memory is kept, as path.sh sets it (M_MMAP_MAX=0, "
        "M_TRIM_THRESHOLD=2^31-1), for ours and the counterpart alike",
    )
    parser.add_argument("--json", help="append the rows to this file too")
    return parser


def prepare(args: argparse.Namespace) -> None:
    """Set threads and malloc; before numpy and torch are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    if args.malloc == "keep":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def circumstances(args: argparse.Namespace) -> str:
    """Describe machine, libraries and settings in a line."""
    import torch

    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    device = "no GPU"
    if torch.cuda.is_available():
        device = f"GPU {torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
    return (
        f"{cpu}, {os.cpu_count()} cores, {device}; Python "
        f"{platform.python_version()}, torch {torch.__version__}; {args.threads} "
        f"threads, malloc: {args.malloc}; medians of {args.rounds} interleaved rounds "
        f"after one; load at the start {os.getloadavg()[0]:.1f}"
    )


def report(rows: Iterable[Row], args: argparse.Namespace) -> int:
    """Print each row as it is measured; 1 if a goal is missed."""
    print(HEADER, flush=True)
    missed = False
    for row in rows:
        print(format_row(row), flush=True)
        missed |= row.goal is not None and row.ratio < row.goal
        if args.json:
            with open(args.json, "a", encoding="utf-8") as f:
                f.write(json.dumps(dataclasses.asdict(row)) + "\n")
    return int(missed)


def resident(name: str) -> float:
    """Return a size of this process in MiB: "VmRSS" now, "VmHWM" at its greatest."""
    with open("/proc/self/status", encoding="utf-8") as f:
        for line in f:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def peak_of_fresh_process(*command: str) -> float:
    """Run ``python <command>``, which prints its peak in MiB as its last line."""
    result = subprocess.run(
        [sys.executable, *command],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    return float(result.stdout.split()[-1])


def report_dtypes(
    row: Row,
    ways: Dict[str, Callable[[], Any]],
    counterpart: Callable[[], Any],
    items: int,
    args: argparse.Namespace,
) -> int:
    """Compare embeddings by networks of several types with one counterpart.

    Args:
        row: What is measured, the unit (ms an item) and what the counterpart is.
        ways: Type -> returns embeddings (items, D).
        counterpart: Returns the counterpart's embeddings.
        items: How many are embedded at once.
        args: The command line.

    Returns:
        The exit status of report.
    """
    from torch.nn.functional import cosine_similarity

    median, found = compare({**ways, "counterpart": counterpart}, args.rounds)
    print(circumstances(args))
    rows = []
    for dtype in ways:
        distance = 1 - cosine_similarity(found[dtype], found["counterpart"])
        rows.append(
            dataclasses.replace(
                row,
                what=f"{row.what}, {dtype}",
                ours=median[dtype] * 1e3 / items,
                counterpart=median["counterpart"] * 1e3 / items,
                difference=f"1 - cos: {distance.max():.0e}",
            )
        )
    return report(rows, args)
