"""What a query string of the command line means."""

import os
import re
import textwrap
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts import (
    LEFT,
    PROMPT_TYPES,
    RIGHT,
    AbsPrompt,
    During,
    InputVideo,
    Mean,
    Region,
    Text,
)
from espnet2_avsep.inference.prompts.span import LIKE_SPANS, SPANS, parse_span
from espnet2_avsep.media.file_name import looks_like_file

# Types of prompts that have a text form of their own.
_FORMS = [cls for cls in PROMPT_TYPES.values() if cls.prefix]
RULE = (
    "A query is read by the first rule that fits:\n"
    + "".join(textwrap.indent(cls.rule.rstrip(), "  ") + "\n" for cls in _FORMS)
    + """\
  FILE          an existing file: a picture, or an embedding (.npy)
  FILE+FILE     several of them that show one thing; their embeddings are averaged
  WORDS         anything else that does not look like a file name
A query that ends in @FROM-TO is of a thing that sounds then only, and its track is
silent at all other times: violin.jpg@3-5, box:0,0,0.5,1@0-1:30,2:05.5- (seconds or
m:ss; several spans are separated by commas; the last of these has no end).
A name with a slash, a backslash or an ending (violin.heic) that does not exist is an
error, and so is the name of a folder. Words need a model trained on CLIP's
embeddings."""
)
EMBEDDING_SUFFIX = ".npy"
_NAME_LENGTH = 40
_PREFIX = re.compile(
    rf"\s*({'|'.join(re.escape(cls.prefix.rstrip(':')) for cls in _FORMS)})\s*:",
    re.IGNORECASE,
)
_NUMBERS = re.compile(
    r"\s*((\w+\s*[:=])|b?box|region)?[\s\d.([{-]+([,;][\s\d.-]+)+[\s)}\]]*",
    re.IGNORECASE,
)


class Query(NamedTuple):
    """A query and what it means.

    Attributes:
        text: As it was given.
        kind: "picture", "embedding", or that of a type of prompts ("region", "text");
            of several files "picture" where one of them is.
        name: Of the track, safe as a file's name.
        prompt: For SeparateAV.
        files: What it names.
    """

    text: str
    kind: str
    name: str
    prompt: Any
    files: Tuple[Path, ...] = ()

    @property
    def encodes(self) -> str:
        """What the prompt is encoded from: "pictures", "text" or "" (nothing)."""
        prompt = self.prompt.prompt if isinstance(self.prompt, During) else self.prompt
        if self.kind == "picture":
            return "pictures"
        return prompt.encodes if isinstance(prompt, AbsPrompt) else ""


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
    looks = InputVideo(video, every, audio_stream)
    found: List[Query] = []
    if sources is not None and video is None:
        raise InputError(
            f"--sources {sources}: the input has no picture. Give --query for each "
            "source."
        )
    if sources == "left-right":
        for name, box in (("left", LEFT), ("right", RIGHT)):
            region = Region.of_video(name, box, looks)
            found.append(Query(name, region.kind, name, region))
    found += [_query(text, looks) for text in texts]
    if not found:
        raise InputError(
            "no source was asked for: give --query for each, or --sources left-right."
        )
    return [
        query._replace(name=f"{n}_{query.name}") for n, query in enumerate(found, 1)
    ]


def _query(text: str, looks: InputVideo) -> Query:
    """Read a query with or without time spans."""
    found = None if _is_file(text) else SPANS.fullmatch(text)
    like = LIKE_SPANS.fullmatch(text) or _is_file(text.rpartition("@")[0])
    like = like and not text.startswith("text:")
    if not found and like and not _is_file(text):
        raise InputError(
            f"--query {text!r:.200}: expected time spans after '@', in seconds or "
            "m:ss, e.g. @3-5, @1:05-1:10 or @3-5,8-."
        )
    bare = found[1] if found else text
    kind, prompt, files = _parse(bare, looks)
    if found:
        prompt = During(
            prompt, [parse_span(part, text) for part in found[2].split(",")]
        )
    return Query(text, kind, _slug(bare, kind, files), prompt, files)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _parse(text: str, looks: InputVideo) -> Tuple[str, Any, Tuple[Path, ...]]:
    """Return the kind of a query without time spans, its prompt and its files."""
    for form in _FORMS:
        if text.startswith(form.prefix):
            prompt = form.parse(text, looks)
            return form.kind, prompt, ()
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
    return Text.kind, Text.parse(text, looks), ()


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, not an embedding."""
    return path.suffix.lower() != EMBEDDING_SUFFIX


def _kind(path: Path) -> str:
    return "picture" if is_picture(path) else "embedding"


def _read(path: Path) -> Any:
    return _embedding(path) if _kind(path) == "embedding" else path


def _embedding(path: Path) -> Any:
    import numpy as np

    from espnet2_avsep.data.tables.table_entry import load_npy

    try:
        rows = load_npy(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--query {path}: cannot be read as an array of numpy ({error})."
        ) from error
    if rows.dtype.kind != "f" or rows.ndim not in (1, 2) or rows.size == 0:
        raise InputError(
            f"--query {path}: expected an array of floats, (D,) or (V, D), found "
            f"{rows.dtype} {rows.shape}."
        )
    if not np.isfinite(rows).all():
        raise InputError(f"--query {path}: holds NaN or infinite values.")
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
