#!/usr/bin/env python3
r"""Merge the tables that parallel jobs have written.

Usage: merge_scp.py <nj> <keys> <job folder> <folder> <item> ... [-- <nj> ...] ...
e.g.   merge_scp.py 4 dump/logs/keys.JOB.scp dump/split4/JOB dump \
           skipped.tsv wav.scp once:wav.scp,skipped.tsv

An item is one of these; all are done in their order:

  <table>       collects the lines of <job folder>/<table>, with JOB standing for 1 to
                <nj>, sorts them by key (LC_ALL=C) and puts them into <folder>/<table>
                in one step, so that it is never there by half. Of a job's table only
                the keys in that job's <keys> are taken, so that lines which an earlier
                run with other data left behind stay out. A missing table and a key
                that comes twice are errors.
  many:<table>  the same, but a key may have several lines in one job's table, whose
                order is kept.
  once:<table>,<table> ...
                checks that each key of <keys> is in exactly one of these tables.
  same:<file>   copies a file that is the same in all jobs: an error if it differs.
                Jobs that found nothing, whose last table is empty, are not asked.
  first:<file>  copies a file of the first job.

After "--" another group follows; the first error ends all.
"""

import contextlib
import os
import sys
from typing import Dict, List, NoReturn

Table = Dict[bytes, bytes]


def die(message: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"merge_scp.py: error: {message}")


def read(path: str) -> bytes:
    """Return the content of a file of a job."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as error:
        die(f"{path}: {error.strerror}; did its job finish?")


def read_lines(path: str) -> List[bytes]:
    """Return the lines of a file that are not blank, with their line ends."""
    return [line + b"\n" for line in read(path).split(b"\n") if line.strip()]


def write(path: str, content: bytes) -> None:
    """Write a file under a temporary name and rename it."""
    folder, name = os.path.split(path)
    unfinished = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        os.makedirs(folder or ".", exist_ok=True)
        with open(unfinished, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        die(f"cannot write {path}: {error.strerror}")
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)


class Jobs:
    """The jobs of one group of arguments.

    Args:
        number: How many there are.
        keys: Their tables of keys, with JOB for the number.
        job_folder: Their folders, with JOB for the number.
        folder: Where the merged files go.
    """

    def __init__(self, number: int, keys: str, job_folder: str, folder: str):
        self.folder = folder
        self.job_folder = job_folder
        self.folders = [job_folder.replace("JOB", str(n + 1)) for n in range(number)]
        self.keys = keys
        self.wanted = [
            {line.split()[0] for line in read_lines(keys.replace("JOB", str(n + 1)))}
            for n in range(number)
        ]

    def merge(self, table: str, many: bool = False) -> None:
        """Merge a table."""
        merged: Table = {}
        for folder, keys in zip(self.folders, self.wanted, strict=True):
            found: Table = {}
            path = os.path.join(folder, table)
            for line in read_lines(path):
                key = line.split()[0]
                if key not in keys:
                    continue
                if key in merged or (key in found and not many):
                    die(f"{path}: {key.decode(errors='replace')} comes more than once")
                found[key] = found.get(key, b"") + line
            merged.update(found)
        lines = [merged[key] for key in sorted(merged)]
        write(os.path.join(self.folder, table), b"".join(lines))

    def check_once(self, tables: List[str]) -> None:
        """Check that each key is in exactly one of the merged tables."""
        paths = [os.path.join(self.folder, table) for table in tables]
        found = [line.split()[0] for path in paths for line in read_lines(path)]
        expected = {key for keys in self.wanted for key in keys}
        names = " ".join(paths)
        seen, twice = set(), set()
        for key in found:
            (twice if key in seen else seen).add(key)
        for wrong, where in (
            (twice, f"come more than once in {names}"),
            (expected - seen, f"of {self.keys} are in none of {names}"),
            (seen - expected, f"of {names} are not in {self.keys}"),
        ):
            if wrong:
                first = b" ".join(sorted(wrong)[:5]).decode(errors="replace")
                die(f"{len(wrong)} keys {where}, the first are: {first}")

    def copy_same(self, name: str, table: str) -> None:
        """Copy a file that is the same in all jobs.

        Args:
            name: Of the file.
            table: That tells which jobs have found something.
        """
        tables = [os.path.join(folder, table) for folder in self.folders]
        asked = [n for n, path in enumerate(tables) if read(path).strip()] or [0]
        paths = [os.path.join(self.folders[n], name) for n in asked]
        content = read(paths[0])
        for path in paths[1:]:
            if read(path) != content:
                die(
                    f"{path} and {paths[0]} differ: the jobs have used different "
                    f"settings. Delete {os.path.dirname(self.job_folder)} and run this "
                    "stage again"
                )
        write(os.path.join(self.folder, name), content)


def merge_group(arguments: List[str]) -> None:
    """Do one group of arguments."""
    if len(arguments) < 5 or not arguments[0].isdecimal():
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    jobs = Jobs(int(arguments[0]), *arguments[1:4])
    items = [item.rpartition(":") for item in arguments[4:]]
    tables = [name for kind, _, name in items if kind in ("", "many")]
    for kind, _, name in items:
        if kind in ("", "many"):
            jobs.merge(name, kind == "many")
        elif kind == "once":
            jobs.check_once(name.split(","))
        elif kind == "same":
            jobs.copy_same(name, tables[-1])
        elif kind == "first":
            content = read(os.path.join(jobs.folders[0], name))
            write(os.path.join(jobs.folder, name), content)
        else:
            die(f"{kind}:{name}: expected many:, once:, same: or first:")


def main() -> None:
    """Merge."""
    group: List[str] = []
    for word in [*sys.argv[1:], "--"]:
        if word == "--":
            merge_group(group)
            group = []
        else:
            group.append(word)


if __name__ == "__main__":
    main()
