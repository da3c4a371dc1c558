#!/usr/bin/env python3
"""Check and fix Kaldi-style data folders.

This is what fix_data_dir.sh and validate_data_dir.sh run. Standard library only.

A data folder holds tables of "key value" lines, sorted by key as LC_ALL=C sort does:
tables of utterances (utt2spk, every utt2* and *.scp, text, visual_shape), spk2utt, and
tables of speakers (every other spk2*). skipped.tsv lists what was left out and why.
"""

import argparse
import contextlib
import functools
import os
import re
import shutil
import stat
import sys
import tempfile
import unicodedata
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Sequence, Set, Tuple

Table = Dict[str, str]

BLANKS = re.compile(r"[ \t]+")
# Some editors begin UTF-8 files with it.
BOM = "\ufeff"
# How many examples a message gives.
EXAMPLES = 3


class DataError(Exception):
    """A folder or an option that cannot be used; the message says how to fix it."""


def byte_order(key: str) -> bytes:
    """Sort key: the order of LC_ALL=C sort."""
    return key.encode(errors="surrogateescape")


def some(keys: Sequence[str]) -> str:
    """Name the first few of a list."""
    more = f" and {len(keys) - EXAMPLES} more" if len(keys) > EXAMPLES else ""
    return ", ".join(keys[:EXAMPLES]) + more


def read_lines(path: Path) -> List[Tuple[str, str]]:
    """Return the (key, value) pairs of a file, "" for a missing value."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    pairs = []
    for line in text.removeprefix(BOM).split("\n"):
        fields = BLANKS.split(line.strip(" \t\r"), maxsplit=1)
        if fields != [""]:
            pairs.append((fields[0], fields[1] if len(fields) == 2 else ""))
    return pairs


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(text.encode(errors="surrogateescape"))
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


def table_text(table: Table) -> str:
    """Return the text of a table, sorted."""
    return "".join(f"{key} {table[key]}\n" for key in sorted(table, key=byte_order))


def spk2utt_of(utt2spk: Table) -> Table:
    """Turn utt -> speaker into speaker -> its utterances, sorted."""
    utts: Dict[str, List[str]] = {}
    for utt in sorted(utt2spk, key=byte_order):
        utts.setdefault(utt2spk[utt], []).append(utt)
    return {speaker: " ".join(names) for speaker, names in utts.items()}


def utt_table_names(folder: Path) -> List[str]:
    """Return the names of the tables of utterances in a folder."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file()
        and re.fullmatch(r"utt2\w+|[^.].*\.scp|text|visual_shape", path.name)
    )


def spk_table_names(folder: Path) -> List[str]:
    """Return the names of the tables of speakers in a folder, spk2utt aside."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file() and path.name.startswith("spk2") and path.name != "spk2utt"
        if not path.name.endswith(".scp")
    )


def check_folder(folder: Path) -> None:
    """Raise unless a folder exists and has utt2spk."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Run stage 1, or correct the path.")
    if not (folder / "utt2spk").is_file():
        raise DataError(
            f"{folder}/utt2spk: no such file. Write one line 'utterance speaker' an "
            "utterance, or run stage 1 again."
        )
    if (folder / "segments").exists():
        raise DataError(
            f"{folder}/segments: utterances cut out of recordings are not supported. "
            "Write one wav.scp line an utterance and remove segments."
        )


def read_clean(path: Path) -> Tuple[Table, List[str]]:
    """Read a table, keys in NFC; also return what had to be left out."""
    table: Table = {}
    remarks = []
    for key, value in read_lines(path):
        key = unicodedata.normalize("NFC", key)
        if not value:
            remarks.append(f"{path}: {key} has no value; the line is dropped")
        elif key in table:
            if table[key] != value:
                remarks.append(
                    f"{path}: {key} comes again with another value; {table[key]!r} is "
                    f"kept, {value!r} is dropped"
                )
        else:
            table[key] = value
    return table, remarks


def add_skipped(folder: Path, rows: Iterable[Tuple[str, str, str]]) -> None:
    """Add (key, stage, reason) rows to a folder's skipped.tsv."""
    path = folder / "skipped.tsv"
    known = set()
    if path.exists():
        text = path.read_bytes().decode(errors="surrogateescape")
        known = {tuple(line.split("\t")) for line in text.split("\n") if line}
    lines = sorted("\t".join(row) + "\n" for row in known | set(rows))
    write_text(path, "".join(lines))


# ---------------------------------------------------------------------------- fix


def fix(arguments: argparse.Namespace) -> None:
    """Sort all tables and keep the utterances that every one of them has."""
    folder = arguments.folder
    check_folder(folder)
    names = utt_table_names(folder)
    tables, remarks = {}, []
    for name in names:
        tables[name], new = read_clean(folder / name)
        remarks += new
    for remark in remarks[:20]:
        print(f"fix_data_dir.sh: {remark}", file=sys.stderr)
    if len(remarks) > 20:
        print(f"fix_data_dir.sh: and {len(remarks) - 20} more such", file=sys.stderr)

    every = set().union(*tables.values())
    kept = set(every).intersection(*tables.values())
    if not kept:
        sizes = ", ".join(f"{name} {len(table)}" for name, table in tables.items())
        raise DataError(
            f"{folder}: no utterance is in all of its tables ({sizes}). Nothing was "
            "changed; make the keys of the tables agree, or remove a table that does "
            "not belong here."
        )
    left_out = []
    for key in sorted(every - kept, key=byte_order):
        missing = [name for name in names if key not in tables[name]]
        left_out.append((key, "fix_data_dir", f"not in {', '.join(missing)}"))
    if left_out:
        add_skipped(folder, left_out)

    texts = {
        name: table_text({key: table[key] for key in kept})
        for name, table in tables.items()
    }
    utt2spk = {key: tables["utt2spk"][key] for key in kept}
    texts["spk2utt"] = table_text(spk2utt_of(utt2spk))
    for name in spk_table_names(folder):
        table, _ = read_clean(folder / name)
        speakers = set(utt2spk.values())
        texts[name] = table_text({k: v for k, v in table.items() if k in speakers})
    for name, text in texts.items():
        path, backup = folder / name, folder / ".backup" / name
        if path.exists():
            if path.read_bytes() == text.encode(errors="surrogateescape"):
                continue
            backup.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, backup)
        write_text(path, text)
    if left_out:
        print(
            f"fix_data_dir.sh: {folder}: kept {len(kept)} of {len(every)} utterances; "
            f"skipped.tsv says why {some([row[0] for row in left_out])} went, "
            f"{folder}/.backup has the tables as they were"
        )
    else:
        print(f"fix_data_dir.sh: {folder}: kept all {len(kept)} utterances")


# ----------------------------------------------------------------------- validate


def is_plain_id(key: str) -> bool:
    """Return whether an id can be a file's name and a word of a shell command.

    Letters, digits and combining marks of any script, in normal form NFC, and some
    signs; espnet2_avsep.data.tables.clip_id makes such ids.
    """
    return unicodedata.is_normalized("NFC", key) and all(
        c.isalnum() or c in "_+=@%,.^-" or unicodedata.category(c)[0] == "M"
        for c in key
    )


# Kaldi's ark:offset, perhaps with a range.
IN_ARCHIVE = re.compile(r"(.+):\d+(\[.*\])?")


@functools.lru_cache(maxsize=1024)
def state_of(path: str) -> str:
    """Return "" for a file or folder that can be used, else "lost" or "empty"."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return "lost"
    empty = stat.S_ISREG(status.st_mode) and status.st_size == 0
    return "empty" if empty else ""


def state_of_value(value: str) -> str:
    """Return state_of for what a table's value names; commands are not looked at."""
    if is_command(value):
        return ""
    state = state_of(value)
    archive = IN_ARCHIVE.fullmatch(value) if state == "lost" else None
    return state_of(archive[1]) if archive else state


def is_command(value: str) -> bool:
    """Return whether Kaldi's programs would run a table's value as a command."""
    return value.startswith("|") or value.endswith("|")


def sampling_rate(path: str) -> int:
    """Read the sampling rate in Hz from a wav or flac file's header; 0: not known."""
    try:
        with open(path, "rb") as f:
            head = f.read(42)
            if head[:4] == b"fLaC" and len(head) == 42:
                return int.from_bytes(head[18:21], "big") >> 4
            if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
                return 0
            f.seek(12)
            while len(chunk := f.read(8)) == 8:
                size = int.from_bytes(chunk[4:], "little")
                if chunk[:4] == b"fmt ":
                    return int.from_bytes(f.read(8)[4:8], "little")
                f.seek(size + size % 2, os.SEEK_CUR)
    except OSError:
        pass
    return 0


def check_form(path: Path, fix_it: str) -> List[str]:
    """Return what is wrong with the bytes of a table."""
    content = path.read_bytes()
    problems = []
    if content.startswith(BOM.encode()):
        problems.append(
            f"{path}: begins with a byte order mark, which becomes part of the first "
            f"key for other programs. {fix_it}"
        )
    if b"\r" in content:
        problems.append(
            f"{path}: has Windows' line ends (CRLF), which become part of the values "
            f"for other programs. {fix_it}"
        )
    if content and not content.endswith(b"\n"):
        problems.append(
            f"{path}: its last line has no end; the file may have been cut off. Write "
            f"it again, or, if it is whole: {fix_it}"
        )
    return problems


def check_lines(path: Path, lines: List[Tuple[str, str]], fix_it: str) -> List[str]:
    """Return what is wrong with the keys of a table and their order."""
    if not lines:
        return [
            f"{path}: is empty. No utterance is left: see {path.parent}/skipped.tsv "
            "and what stage 1 printed."
        ]
    problems = []
    keys = [key for key, _ in lines]
    if without := [key for key, value in lines if not value]:
        problems.append(f"{path}: {some(without)} has no value. {fix_it}")
    if len(set(keys)) != len(keys):
        seen: Set[str] = set()
        twice = [key for key in keys if key in seen or seen.add(key)]
        problems.append(f"{path}: {some(twice)} comes more than once. {fix_it}")
    order = [byte_order(key) for key in keys]
    if order != sorted(order):
        wrong = next(i for i in range(1, len(keys)) if order[i - 1] > order[i])
        problems.append(
            f"{path}: is not sorted as LC_ALL=C sort does; {keys[wrong]} stands too "
            f"late. {fix_it}"
        )
    if odd := [key for key in keys if not is_plain_id(key)]:
        problems.append(
            f"{path}: the id {odd[0]!r}{f' and {len(odd) - 1} more' * (len(odd) > 1)} "
            "has characters that file names or shells stumble over; letters, digits "
            "and _ - . , + = @ % ^ are fine. Accents must be in Unicode's form NFC, "
            "which fix_data_dir.sh writes; rename all else where it comes from: in the "
            "corpus' list, or in what local/prepare_<corpus>.py makes of it."
        )
    return problems


def check_paths(
    path: Path, table: Table, allow_empty: bool, allow_pipes: bool
) -> List[str]:
    """Return what is wrong with the files that a table names."""
    folder = path.parent
    delete = f"delete the line and run utils/fix_data_dir.sh {folder}"
    states: Dict[str, List[str]] = {"lost": [], "empty": []}
    for key, value in table.items():
        if value and (state := state_of_value(value)):
            states[state].append(key)
    problems = []
    commands = [key for key, value in table.items() if is_command(value)]
    if commands and not allow_pipes:
        problems.append(
            f"{path}: {some(commands)} has a command for a file: "
            f"{table[commands[0]]!r}. Give files; or, if you wrote the table and trust "
            "it, --allow-pipes here and --allow_pipes true to avsep.sh."
        )
    lost = states["lost"]
    # "an id /a/file": the line was split at the first blank.
    split = [
        key
        for key in lost
        if " " in table[key]
        and not state_of_value(table[key].split(" ", 1)[1].lstrip())
    ]
    if split:
        first = f"{split[0]} {table[split[0]]}"
        problems.append(
            f"{path}: {some(split)}: the id seems to hold a blank: {first!r}. Ids must "
            "not; write '_' in its place in all tables."
        )
    lost = [key for key in lost if key not in set(split)]
    if lost:
        value = table[lost[0]]
        where = "" if os.path.isabs(value) else f" (within {os.getcwd()})"
        problems.append(
            f"{path}: the file of {some(lost)} does not exist, e.g. {value}{where}. "
            f"Correct the path, or {delete}"
        )
    if (empty := states["empty"]) and not allow_empty:
        problems.append(
            f"{path}: the file of {some(empty)} is empty, e.g. {table[empty[0]]}. "
            f"Fetch it again, or {delete}"
        )
    return problems


def check_rates(path: Path, table: Table, fs: int) -> List[str]:
    """Return which wav and flac files have another sampling rate than stated."""
    rates = {
        key: sampling_rate(value)
        for key, value in table.items()
        if value.lower().endswith((".wav", ".flac"))
    }
    wrong = [key for key, rate in rates.items() if rate not in (0, fs)]
    if not wrong:
        return []
    return [
        f"{path}: {some(wrong)} has another sampling rate than {fs} Hz, e.g. "
        f"{table[wrong[0]]}: {rates[wrong[0]]} Hz. Run stage 3 again with --fs {fs}, "
        "or give the rate that the files have."
    ]


def check_agreement(folder: Path, tables: Dict[str, Table], fix_it: str) -> List[str]:
    """Return where the tables of a folder contradict one another."""
    problems = []
    utts = set(tables["utt2spk"])
    for name in utt_table_names(folder):
        for reason, keys in (
            (f"in {name} and not in utt2spk", set(tables[name]) - utts),
            (f"in utt2spk and not in {name}", utts - set(tables[name])),
        ):
            if keys:
                listed = sorted(keys, key=byte_order)
                problems.append(f"{folder}: {some(listed)} is {reason}. {fix_it}")
        if name.startswith("utt2num_"):
            bad = [k for k, v in tables[name].items() if not re.fullmatch(r"\d+", v)]
            if bad:
                problems.append(
                    f"{folder}/{name}: the value of {some(bad)} is not a whole number. "
                    "Run the stage that wrote it again."
                )
    if several := [k for k, v in tables["utt2spk"].items() if len(v.split()) > 1]:
        problems.append(
            f"{folder}/utt2spk: {some(several)} has more than one word after the id: "
            f"{tables['utt2spk'][several[0]]!r}. Write '_' for the blanks of a class' "
            "or an id's name, in all tables."
        )
    if "spk2utt" in tables:
        expected = {s: set(u.split()) for s, u in spk2utt_of(tables["utt2spk"]).items()}
        found = {s: set(u.split()) for s, u in tables["spk2utt"].items()}
        if expected != found:
            wrong = sorted(
                s for s in {*expected, *found} if expected.get(s) != found.get(s)
            )
            problems.append(
                f"{folder}: spk2utt and utt2spk do not agree on speaker {some(wrong)}. "
                f"{fix_it}"
            )
    return problems


def missing_tables(arguments: argparse.Namespace, fix_it: str) -> List[str]:
    """Return which tables a folder lacks: sound and picture go together."""
    folder = arguments.folder
    has = {name: (folder / name).is_file() for name in ("spk2utt", "wav.scp")}
    problems = []
    if not has["spk2utt"]:
        problems.append(f"{folder}/spk2utt: no such file. {fix_it}")
    if not has["wav.scp"] and not arguments.no_wav:
        problems.append(
            f"{folder}/wav.scp: no such file. Run stage 1 again, or write one line "
            "'utterance path' an utterance (--no-wav does without)."
        )
    pictures = ("video.scp", "visual.scp", "visual_spk1.scp")
    if not arguments.no_video and not any((folder / n).is_file() for n in pictures):
        problems.append(
            f"{folder}/video.scp: no such file, so the sounds have no pictures. Run "
            "stage 1 again, or write one line 'utterance path' an utterance "
            "(--no-video does without)."
        )
    return problems


def validate(arguments: argparse.Namespace) -> None:
    """Check a data folder; print every problem and how to fix it."""
    folder = arguments.folder
    check_folder(folder)
    fix_it = f"Fix it: utils/fix_data_dir.sh {folder}"
    problems = missing_tables(arguments, fix_it)
    names = ["utt2spk"] + [n for n in utt_table_names(folder) if n != "utt2spk"]
    names += [n for n in ("spk2utt",) if (folder / n).is_file()]
    names += spk_table_names(folder)
    tables: Dict[str, Table] = {}
    for name in names:
        path = folder / name
        problems += check_form(path, fix_it)
        lines = read_lines(path)
        tables[name] = dict(lines)
        problems += check_lines(path, lines, fix_it)
        if name.endswith(".scp"):
            problems += check_paths(
                path, tables[name], arguments.allow_empty_media, arguments.allow_pipes
            )
    if arguments.fs and "wav.scp" in tables:
        problems += check_rates(folder / "wav.scp", tables["wav.scp"], arguments.fs)
    problems += check_agreement(folder, tables, fix_it)
    if problems:
        raise DataError("\n".join(problems))
    count = len(tables["utt2spk"])
    print(f"validate_data_dir.sh: {folder}: {count} utterances, all is well")


# ------------------------------------------------------------------- command line


def get_parser() -> argparse.ArgumentParser:
    """Build the parser; every command is a script of Kaldi's name."""
    parser = argparse.ArgumentParser(
        description="Check and fix Kaldi-style data folders."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable) -> argparse.ArgumentParser:
        new = commands.add_parser(name, prog=name, description=run.__doc__)
        new.set_defaults(run=run)
        return new

    new = command("fix_data_dir.sh", fix)
    new.add_argument("folders", nargs="+", type=Path)

    new = command("validate_data_dir.sh", validate)
    new.add_argument("--no-wav", action="store_true", help="wav.scp may be missing")
    new.add_argument("--no-video", action="store_true", help="video.scp may be missing")
    new.add_argument(
        "--allow-empty-media",
        action="store_true",
        help="wav.scp and the like may name empty files (which later stages leave out "
        "and count)",
    )
    new.add_argument(
        "--allow-pipes",
        action="store_true",
        help="tables may hold commands ('cmd |'), see --allow_pipes of avsep.sh",
    )
    new.add_argument("--fs", type=int, help="sampling rate of all wav and flac files")
    for option in ("--no-feats", "--no-text", "--no-spk-sort", "--non-print"):
        new.add_argument(
            option, action="store_true", help="accepted; such data are never required"
        )
    new.add_argument("folders", nargs="+", type=Path)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a command and return the exit status."""
    arguments = get_parser().parse_args(argv)
    try:
        for folder in arguments.folders:
            arguments.folder = folder
            arguments.run(arguments)
    except DataError as error:
        for line in str(error).split("\n"):
            print(f"{arguments.command}: error: {line}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{arguments.command}: error: {error.filename}: {error.strerror}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
