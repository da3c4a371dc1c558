"""Records of what a result was made from, and the check that this is still there.

A record is a JSON file beside the result: ``made_from.json`` in its folder, or
``<file>.made_from.json``. It has

* ``stage``: the stage that makes the result;
* ``version``: of the code that made it (VERSIONS);
* ``outputs``: file of the result -> digest, where the maker keeps finished work;
* ``inputs``: name -> path and digest. Of a table, the digest covers what its files hold
  (data/records/content.py), not where they are;
* ``options``: everything else that the result depends on.

A stage compares its record with the one that is there, to know whether finished work
can be kept. A later stage computes the digests of a record again, to know whether the
result is still that of its inputs.
"""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Union

from espnet2_avsep.data.records.content import (
    MISSING,
    changed_keys,
    current_content,
    digest_of,
    file_digest,
    table_digest,
)
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import PathLike, read_scp, write_json
from espnet2_avsep.errors import InputError

NAME = "made_from.json"

# A stage of the recipe, or the command of embeddings of the teacher.
Stage = Union[int, str]
TEACHER = "avsep_extract_teacher"
# Versions of what each stage computes. Raise one where the same inputs give another
# result: results of earlier versions are then made again (stages 2, 3, 7 and 8, and
# avsep_extract_teacher, keep finished work), and later stages do not read them (stages
# 4 to 9, and the embeddings). The values of each version are in
# tests/data/records/test_code_versions.py.
VERSIONS: Dict[Stage, int] = {
    2: 1,
    3: 1,
    4: 1,
    5: 1,
    6: 1,
    7: 1,
    8: 2,  # 2: an exact estimate scores 313 dB; before, it was skipped
    9: 1,
    TEACHER: 1,
}
Record = Dict[str, Any]


def record_path(result: PathLike) -> Path:
    """Return where the record of a folder or of a file is.

    What is not there yet is a folder if its name has no suffix.
    """
    result = Path(result)
    if result.is_dir() or (not result.suffix and not result.is_file()):
        return result / NAME
    return result.with_name(f"{result.name}.{NAME}")


def make_record(
    stage: Stage,
    tables: Mapping[str, PathLike],
    files: Mapping[str, PathLike],
    options: Mapping[str, Any],
) -> Record:
    """Describe what a result is made from, as that is now.

    Args:
        stage: The stage that makes it.
        tables: Name -> table, read with all that it refers to.
        files: Name -> file.
        options: What else it depends on, as JSON can hold it.

    Raises:
        InputError: a table or a file is missing.
    """
    inputs = {
        name: {"path": str(path), "digest": _digest(path)}
        for name, path in {**tables, **files}.items()
    }
    # As it reads when it comes back from the disk.
    options = json.loads(json.dumps(dict(options), sort_keys=True, default=str))
    made = {"stage": stage, "version": VERSIONS[stage]}
    return {**made, "inputs": inputs, "options": options}


def with_outputs(record: Record, files: Iterable[PathLike]) -> Record:
    """Return a record together with the digests of the files of the result."""
    return {**record, "outputs": {str(path): file_digest(path) for path in files}}


def is_finished(result: PathLike, record: Record) -> bool:
    """Whether the result of these inputs is there, and as it was written.

    Args:
        result: The folder or file, with a record made by :func:`with_outputs`.
        record: Of the inputs and options as they are now.
    """
    before = read_record(result)
    if before is None or not isinstance(before.get("outputs"), dict):
        return False
    files = [path for path in before["outputs"] if Path(path).is_file()]
    return before == with_outputs(record, files)


def _name(stage: Stage) -> str:
    return stage if isinstance(stage, str) else f"stage {stage}"


def check_folder(folder: PathLike, stage: Stage) -> None:
    """Check that a stage may write into a folder: it holds no result of another one.

    Args:
        folder: It need not exist.
        stage: The stage that writes.

    Raises:
        InputError: it does; nothing of it must be replaced.
    """
    known = (read_record(folder) or {}).get("stage", stage)
    if known != stage:
        raise InputError(
            f"{folder}: holds the result of {_name(known)}, of which {_name(stage)} "
            "would replace files. Give another folder (--output_dir)."
        )


def write_record(result: PathLike, record: Record) -> None:
    """Write the record of a result."""
    write_json(record_path(result), record, sort_keys=True)


def begin_record(folder: PathLike, stage: int) -> None:
    """Mark a folder's result as incomplete until :func:`write_record` is called.

    Args:
        folder: Created where missing.
        stage: The stage that makes the result.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    begun = {"stage": stage, "version": 0, "inputs": {}, "options": {}}
    write_record(folder, {**begun, "finished": False})


def read_record(result: PathLike) -> Optional[Record]:
    """Read the record of a result; None: there is none, or none of this form."""
    try:
        record = json.loads(record_path(result).read_text(encoding="utf-8"))
        if isinstance(record["inputs"], dict) and isinstance(record["options"], dict):
            return record
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


def differences(before: Record, now: Record) -> List[str]:
    """Return what has changed between two records, in words; paths do not count."""
    found = []
    if before.get("version") != now["version"]:
        found.append(
            f"version {before.get('version')} of the code, now {now['version']}"
        )
    for name in sorted({*before["inputs"], *now["inputs"]}):
        old, new = before["inputs"].get(name), now["inputs"].get(name)
        if old is None or new is None:
            found.append(f"{name} was {'not used' if old is None else old['path']}")
        elif old["digest"] != new["digest"]:
            found.append(f"{name} ({new['path']}) has changed")
    for name in sorted({*before["options"], *now["options"]}):
        old, new = before["options"].get(name), now["options"].get(name)
        if old != new:
            found.append(f"{name} was {old}, now {new}")
    return found


def check_current(result: PathLike, required: bool = False) -> None:
    """Check that a result's inputs are still those that it was made from.

    Where an input has a record of its own (stage 8's is stage 7's record), that is
    checked too. An input that does not exist, or a table with a missing file, is not
    checked: results may be moved, and their inputs deleted.

    Args:
        result: The folder or file, or the record itself.
        required: Whether a result without a record is an error.

    Raises:
        InputError: an input or the version of the stage has changed; names the stage
            to run again.
    """
    path = Path(result)
    if path.name == NAME:
        result = path.parent
    record = read_record(result)
    if record is None:
        if required:
            raise InputError(
                f"{result}: has no {NAME}, which says what it was made from: it was "
                "not finished, or made by an earlier version. Run the stage that "
                "makes it again."
            )
        return
    if record.get("finished") is False:
        raise InputError(
            f"{result}: is not complete: stage {record['stage']} is still running, "
            f"failed or was stopped. Run stage {record['stage']} again."
        )
    stage, version = record.get("stage"), record.get("version")
    if version != VERSIONS.get(stage, version):
        raise InputError(
            f"{result}: was made by version {version} of {_name(stage)}, which is now "
            f"{VERSIONS[stage]} and gives other results. Run {_name(stage)} again."
        )
    for name, known in record["inputs"].items():
        path = Path(known["path"])
        if not path.exists():
            continue
        if path.name == NAME:
            check_current(path)
        if _digest_if_there(path) not in (None, known["digest"]):
            raise InputError(
                f"{result}: was made from {name} ({path}) as it was before, but that "
                f"has changed. Run {_name(stage)} again."
            )


def check_sets(tables: Iterable[PathLike]) -> None:
    """Check that stage 4 made these sets from the current results of stages 2 and 3.

    Args:
        tables: Tables of the sets. A folder without a record (of an earlier version,
            or not made by stage 4) is not checked.

    Raises:
        InputError: see :func:`check_current`.
    """
    for folder in dict.fromkeys(Path(table).parent for table in tables):
        check_current(folder)


def check_unchanged(
    scp: PathLike, stage: int, keys: Optional[Iterable[str]] = None
) -> None:
    """Check that the files of a table are still as they were written.

    Args:
        scp: The table; without a ``.content`` table, nothing is known of its files.
        stage: The stage that wrote it.
        keys: The keys whose files are wanted; None: all.

    Raises:
        InputError: a file is missing or has changed.
    """
    table = read_scp(scp, allow_empty=True)
    wanted = table if keys is None else {k: table[k] for k in keys if k in table}
    changed = changed_keys(scp, wanted)
    if changed:
        raise InputError(
            f"{scp}: {len(changed)} file(s) are missing or have changed since stage "
            f"{stage} wrote them: {shorten(changed)}. Run stage {stage} again."
        )


def check_tracks(folder: PathLike) -> None:
    """Check that tracks are as stage 7 wrote them, and that its inputs are unchanged.

    Args:
        folder: Holds spk<n>.scp.

    Raises:
        InputError: see :func:`check_current` and :func:`check_unchanged`.
    """
    check_current(folder)
    for path in sorted(Path(folder).glob("spk*.scp")):
        check_unchanged(path, 7)


def _digest_if_there(path: Path) -> Optional[str]:
    """Digest an input; None: a file of the table is missing."""
    if path.suffix != ".scp":
        return file_digest(path)
    rows = current_content(path)
    if any(row.digest == MISSING for row in rows.values()):
        return None
    return digest_of(rows)


def _digest(path: PathLike) -> str:
    """Digest a file, or a table with what its files hold."""
    return table_digest(path) if Path(path).suffix == ".scp" else file_digest(path)
