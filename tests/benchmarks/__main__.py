"""All benchmarks in one table: ``python -m tests.benchmarks``, or ``make bench``.

Each runs in a process of its own, one after another; what it prints about its
circumstances goes before the table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional, Sequence

from tests.benchmarks.common import HEADER, MALLOCS, Row, format_row

FOLDER = Path(__file__).resolve().parent
# Script -> its own options.
SCRIPTS = {
    "bench_network.py": ("--profile",),
    "bench_teacher.py": (),
    "bench_features.py": (),
    "bench_frames.py": (),
    "bench_data.py": (),
    "bench_scoring.py": (),
}
LAST = "bench_startup.py"
GOALS = ("all reached", "NOT all reached")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run them; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="for the medians")
    parser.add_argument("--malloc", choices=MALLOCS, default="keep")
    parser.add_argument(
        "--only", nargs="+", choices=[name[6:-3] for name in SCRIPTS], help="run these"
    )
    args = parser.parse_args(argv)
    missed, rows, notes = 0, [], []
    begin = time.perf_counter()
    for script, more in SCRIPTS.items():
        if args.only and script[6:-3] not in args.only:
            continue
        print(f"{script} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "rows.json"
            result = subprocess.run(
                [sys.executable, FOLDER / script, "--rounds", str(args.rounds)]
                + ["--malloc", args.malloc, "--json", table, *more],
                stdout=subprocess.PIPE,
                text=True,
            )
            if not table.exists():
                print(f"{script} failed (exit status {result.returncode})")
                missed = 1
                continue
            missed |= result.returncode
            rows += [Row(**json.loads(line)) for line in table.open(encoding="utf-8")]
        before, _, after = result.stdout.partition(HEADER)
        print(f"{script}: {before.strip()}\n", flush=True)
        notes.append(after.partition("\n\n")[2].strip())
    print(HEADER)
    for row in rows:
        print(format_row(row))
    print("\n\n".join(["", *filter(None, notes)]), flush=True)
    if not args.only:
        command = [sys.executable, FOLDER / LAST, "--rounds", str(args.rounds)]
        missed |= subprocess.run(command).returncode
    print(f"\n{time.perf_counter() - begin:.0f} s; goals: {GOALS[bool(missed)]}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
