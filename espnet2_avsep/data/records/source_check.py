"""Whether features and audio are still those of the corpus as it is now."""

from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping

from espnet2_avsep.data.records.content import read_content
from espnet2_avsep.data.records.journal import signature, unchanged
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import PathLike, read_scp
from espnet2_avsep.errors import InputError


def check_sources(
    data_dir: PathLike, tables: Mapping[str, PathLike], keys: Iterable[str]
) -> None:
    """Check that no file of the corpus has changed since it was read.

    Sound of an exchanged file must not be mixed with pictures of the one before. A file
    that is gone cannot be compared; then stages 2 and 3 must have read the same.

    Args:
        data_dir: Stage 1: wav.scp, video.scp.
        tables: "wav" -> stage 3's table; any other name -> one of stage 2.
        keys: The clips.

    Raises:
        InputError: a file has changed, or the list names another one; names the stage
            to run again.
    """
    corpus: Dict[str, Dict[str, str]] = {}
    for name in ("wav", "video"):
        path = Path(data_dir) / f"{name}.scp"
        corpus[name] = read_scp(path) if path.is_file() else {}
    contents = {name: read_content(path) for name, path in tables.items()}
    now: Dict[str, List[Any]] = {}
    stale: Dict[int, List[str]] = {}
    for key in keys:
        read: Dict[str, List[Any]] = {}
        for name, rows in contents.items():
            source = rows[key].source if key in rows else None
            named = _path_of(source, name)
            listed = corpus["wav" if name == "wav" else "video"].get(key)
            same = named is None or listed is None or named == listed
            for seen in _signatures(source):
                path = seen[0]
                if path not in now:
                    now[path] = signature(path)
                if len(now[path]) > 1:
                    same = same and unchanged(seen, now[path])
                else:
                    same = same and unchanged(read.setdefault(path, seen), seen)
            if not same:
                stale.setdefault(3 if name == "wav" else 2, []).append(key)
    if stale:
        wrong = sorted(set().union(*stale.values()))
        stages = " and ".join(map(str, sorted(stale)))
        raise InputError(
            f"{data_dir}: {len(wrong)} clip(s) have changed since stage {stages} read "
            f"them: {shorten(wrong)}. Sound and pictures must be of the same files; "
            f"run stage {stages} again."
        )


def _signatures(source: Any) -> Iterator[List[Any]]:
    """Yield the signatures of files within what something was made from."""
    if not isinstance(source, list) or not source:
        return
    if isinstance(source[0], str) and len(source) >= 3 and isinstance(source[1], int):
        yield source
        return
    for part in source:
        yield from _signatures(part)


def _path_of(source: Any, name: str) -> Any:
    """Return the file of the corpus that was read; None: not a file of the corpus."""
    if not isinstance(source, list) or not source:
        return None
    if name == "wav":
        return source[0]
    return source[0][0] if isinstance(source[0], list) else None
