"""What a query string of the command line means."""

import math
import os
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts import (
    LEFT,
    RIGHT,
    Box,
    During,
    Mean,
    Region,
    Span,
    Text,
    check_box,
)
from espnet2_avsep.media.file_name import looks_like_file

RULE = """\
A query is read by the first rule that fits:
  box:L,T,R,B   the region of the input video, as shares of its width and height
                (0 <= L < R <= 1 and 0 <= T < B <= 1), looked at along the video;
                box:L,T,R,B,seen=3-5: looked at from second 3 to 5 only, for the
                whole recording; seen=4: once, at second 4
  text:WORDS    the words, also where a file has that name
  FILE          an existing file: a picture, or an embedding (.npy)
  FILE+FILE     several of them that show one thing; their embeddings are averaged
  WORDS         anything else that does not look like a file name
A query that ends in @FROM-TO is of a thing that sounds then only, and its track is
silent at all other times: violin.jpg@3-5, box:0,0,0.5,1@0-1:30,2:05.5- (seconds or
m:ss; several spans are separated by commas; the last of these has no end).
A name with a slash, a backslash or an ending (violin.heic) that does not exist is an
error, and so is the name of a folder. Words need a model trained on CLIP's
embeddings."""
EMBEDDING_SUFFIX = ".npy"
_NAME_LENGTH = 40
_PREFIX = re.compile(r"\s*(box|text)\s*:", re.IGNORECASE)
_NUMBERS = re.compile(
    r"\s*((\w+\s*[:=])|b?box|region)?[\s\d.([{-]+([,;][\s\d.-]+)+[\s)}\]]*",
    re.IGNORECASE,
)
_TIME = r"(?:\d+:)?(?:\d+:)?\d+(?:\.\d*)?"
_SPAN = rf"(?:{_TIME}-(?:{_TIME})?|-{_TIME})"
_SPANS = re.compile(rf"(.+)@({_SPAN}(?:,{_SPAN})*)", re.DOTALL)
_LIKE_SPANS = re.compile(r".+@[\d:.,\s-]+", re.DOTALL)
_SEEN = re.compile(rf"seen=({_TIME})(?:-({_TIME}))?")


class Query(NamedTuple):
    """A query and what it means.

    Attributes:
        text: As it was given.
        kind: "region", "text", "picture" or "embedding"; of several files "picture"
            where one of them is.
        name: Of the track, safe as a file's name.
        prompt: For SeparateAV.
        files: What it names.
    """

    text: str
    kind: str
    name: str
    prompt: Any
    files: Tuple[Path, ...] = ()


def parse_queries(
    texts: Sequence[str],
    video: Optional[Path],
    every: Optional[float] = 1.0,
    sources: Optional[str] = None,
    audio_stream: Optional[int] = None,
) -> List[Query]:
    """Read queries.

    Args:
        texts: As they were given.
        video: The input, for regions; None where it has no picture.
        every: Seconds between looks at a region; None: one look, held.
        sources: "left-right" adds the two halves of the picture.
        audio_stream: Of the input, from which the time of its regions is counted.

    Raises:
        InputError: none was given, or one makes no sense.
    """
    looks = _Looks(video, every, audio_stream)
    found: List[Query] = []
    if sources == "left-right":
        for name, box in (("left", LEFT), ("right", RIGHT)):
            found.append(Query(name, "region", name, looks.region(name, box)))
    found += [_query(text, looks) for text in texts]
    if not found:
        raise InputError(
            "no source was asked for: give --query for each, or --sources left-right."
        )
    return [
        query._replace(name=f"{n}_{query.name}") for n, query in enumerate(found, 1)
    ]


class _Looks(NamedTuple):
    """How regions are looked at: see parse_queries."""

    video: Optional[Path]
    every: Optional[float]
    audio_stream: Optional[int]

    def region(self, text: str, box: Box, seen: Optional[Span] = None) -> Region:
        """Return the region of a query; of ``seen`` of one moment, the one look."""
        check_box(box, f"--query {text!r}")
        if self.video is None:
            raise InputError(
                f"--query {text!r}: a region needs a video, and the input has no "
                "picture. Give a picture file instead."
            )
        every, at = self.every, 0.0
        if seen is not None and (every is None or seen[0] == seen[1]):
            every, at, seen = None, sum(seen) / 2, None
        stream = self.audio_stream
        return Region(self.video, box, every, at, audio_stream=stream, seen=seen)


def _query(text: str, looks: _Looks) -> Query:
    """Read a query with or without time spans."""
    found = None if _is_file(text) else _SPANS.fullmatch(text)
    like = _LIKE_SPANS.fullmatch(text) and not text.startswith("text:")
    if not found and like and not _is_file(text):
        raise InputError(
            f"--query {text!r:.200}: expected time spans after '@', in seconds or "
            "m:ss, e.g. @3-5, @1:05-1:10 or @3-5,8-."
        )
    bare = found[1] if found else text
    kind, prompt, files = _parse(bare, looks)
    if found:
        prompt = During(prompt, [_span(part, text) for part in found[2].split(",")])
    return Query(text, kind, _slug(bare, kind, files), prompt, files)


def _span(text: str, query: str) -> Span:
    """Read FROM-TO; one of the two may be missing."""
    begin, _, end = text.partition("-")
    span = (_seconds(begin or "0"), _seconds(end) if end else math.inf)
    if span[0] >= span[1]:
        raise InputError(
            f"--query {query!r:.200}: the time span {text} ends before it begins."
        )
    return span


def _seconds(text: str) -> float:
    """Read seconds, m:ss or h:mm:ss.

    Example:
        >>> [_seconds(text) for text in ("7.5", "1:05", "1:00:00.5")]
        [7.5, 65.0, 3600.5]
    """
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _parse(text: str, looks: _Looks) -> Tuple[str, Any, Tuple[Path, ...]]:
    """Return the kind of a query without time spans, its prompt and its files."""
    if text.startswith("box:"):
        return "region", _box(text, looks), ()
    if text.startswith("text:"):
        return "text", _words(text.removeprefix("text:"), text), ()
    if not text.strip():
        raise InputError(f"--query {text!r}: is empty.")
    if _is_file(text):
        path = Path(text)
        return _kind(path), _read(path), (path,)
    parts = [part.strip() for part in text.split("+")]
    if len(parts) > 1 and any(map(_is_file, parts)):
        files = tuple(map(Path, parts))
        for part in parts:
            if not _is_file(part):
                raise InputError(f"--query {text!r:.200}: there is no file {part!r}.")
        kind = "picture" if "picture" in map(_kind, files) else "embedding"
        return kind, Mean(tuple(map(_read, files))), files
    if os.path.isdir(text):
        raise InputError(
            f"--query {text!r}: is a folder. Give a picture in it, or text:{text} for "
            "the words."
        )
    if prefix := _PREFIX.match(text):
        raise InputError(
            f"--query {text!r:.200}: begins with {prefix[0]!r}; expected "
            f"'{prefix[1].lower()}:', in small letters and without white space."
        )
    if _NUMBERS.fullmatch(text):
        raise InputError(
            f"--query {text!r:.200}: looks like a region; expected "
            "box:left,top,right,bottom, or text: and the words."
        )
    if looks_like_file(text):
        raise InputError(
            f"--query {text!r:.200}: looks like a file, and there is none of that "
            f"name. Correct the path, or give text:{text:.100} for the words."
        )
    return "text", _words(text, text), ()


def _box(text: str, looks: _Looks) -> Region:
    """Read box:L,T,R,B, and after another comma seen=FROM-TO or seen=AT."""
    values = text.removeprefix("box:").split(",")
    seen = None
    if found := _SEEN.fullmatch(values[-1].strip()):
        seen = (_seconds(found[1]), _seconds(found[2] or found[1]))
        if seen[0] > seen[1]:
            raise InputError(
                f"--query {text!r:.200}: the time span {values[-1]} ends before it "
                "begins."
            )
        values.pop()
    try:
        box = tuple(float(value) for value in values)
    except ValueError:
        raise InputError(
            f"--query {text!r}: expected box:left,top,right,bottom with four "
            "numbers, e.g. box:0,0,0.5,1, or box:0,0,0.5,1,seen=3-5."
        ) from None
    return looks.region(text, box, seen)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, not an embedding."""
    return path.suffix.lower() != EMBEDDING_SUFFIX


def _kind(path: Path) -> str:
    return "picture" if is_picture(path) else "embedding"


def _read(path: Path) -> Any:
    return _embedding(path) if _kind(path) == "embedding" else path


def _words(words: str, text: str) -> Text:
    if not words.strip() or "\0" in words or len(words) > 1000:
        raise InputError(
            f"--query {text[:60]!r}: expected some words, at most 1000 letters."
        )
    return Text(words.strip())


def _embedding(path: Path) -> Any:
    import numpy as np

    from espnet2_avsep.data.tables.table_entry import load_npy

    try:
        rows = load_npy(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--query {path}: cannot be read as an array of numpy ({error})."
        ) from error
    if rows.dtype.kind != "f":
        raise InputError(
            f"--query {path}: expected an array of floats, (D,) or (V, D)."
        )
    return rows.astype(np.float32)


def _slug(text: str, kind: str, files: Sequence[Path] = ()) -> str:
    """Return the letters and digits of a query, for a file's name."""
    text = text.removeprefix("text:")
    # An embedding beside the user has kept its ending since the first version, and
    # scripts read these files.
    if len(files) > 1 or kind == "picture" or (kind == "embedding" and "/" in text):
        text = "_".join(path.stem for path in files or [Path(text)])
    return (
        re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("_.")[:_NAME_LENGTH] or "track"
    )


def describe(queries: Sequence[Query]) -> List[Dict[str, str]]:
    """Return what JSON says of the queries."""
    return [{"query": q.text, "kind": q.kind, "name": q.name} for q in queries]
