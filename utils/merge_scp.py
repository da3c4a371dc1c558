#!/usr/bin/env python3
"""Merge the tables that parallel jobs have written.

Usage: merge_scp.py [--many] <nj> <keys> <job folder> <folder> <table> ...
e.g.   merge_scp.py 4 dump/logs/keys.JOB.scp dump/split4/JOB dump wav.scp skipped.tsv

For each <table>, collects the lines of <job folder>/<table>, with JOB standing for 1,
..., <nj>, sorts them by key (LC_ALL=C) and puts them into <folder>/<table> in one step,
so that it is never there by half. Of a job's table only the keys in that job's <keys>
are taken, so that lines which an earlier run with other data left behind stay out. A
missing table and a key that comes twice are errors; with --many a key may have several
lines in one job's table, whose order is kept.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NoReturn


def die(message: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"merge_scp.py: error: {message}")


def read_lines(path: Path) -> List[bytes]:
    """Return the lines of a file that are not blank, with their line ends."""
    try:
        with path.open("rb") as f:
            return [line.rstrip(b"\n") + b"\n" for line in f if line.strip()]
    except OSError as error:
        die(f"{path}: {error.strerror}; did its job finish?")


def write(path: Path, lines: List[bytes]) -> None:
    """Write a table under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as f:
            f.writelines(lines)
            f.flush()
            os.fsync(f.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(unfinished, 0o666 & ~umask)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


def main() -> None:
    """Merge."""
    arguments = sys.argv[1:]
    many = arguments[:1] == ["--many"]
    if many:
        arguments = arguments[1:]
    if len(arguments) < 5 or not arguments[0].isdigit():
        sys.exit(__doc__.strip())
    jobs = [str(n) for n in range(1, int(arguments[0]) + 1)]
    keys_of_job, job_folder, folder, *tables = arguments[1:]
    wanted = [
        {line.split()[0] for line in read_lines(Path(keys_of_job.replace("JOB", job)))}
        for job in jobs
    ]
    for table in tables:
        merged: Dict[bytes, bytes] = {}
        for job, keys in zip(jobs, wanted, strict=True):
            found: Dict[bytes, bytes] = {}
            path = Path(job_folder.replace("JOB", job)) / table
            for line in read_lines(path):
                key = line.split()[0]
                if key not in keys:
                    continue
                if key in merged or (key in found and not many):
                    die(f"{path}: {key.decode(errors='replace')} comes more than once")
                found[key] = found.get(key, b"") + line
            merged.update(found)
        try:
            write(Path(folder) / table, [merged[key] for key in sorted(merged)])
        except OSError as error:
            die(f"cannot write {folder}/{table}: {error.strerror}")


if __name__ == "__main__":
    main()
