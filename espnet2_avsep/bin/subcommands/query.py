"""What a query string of the command line means; no sub-command."""

import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.file_name import looks_like_file
from espnet2_avsep.prompts import LEFT, RIGHT, Region, Text, check_box

RULE = """\
A query is read by the first rule that fits:
  box:L,T,R,B   the region of the input video, as shares of its width and height
                (0 <= L < R <= 1 and 0 <= T < B <= 1), looked at along the video
  text:WORDS    the words, also where a file has that name
  FILE          an existing file: a picture, or an embedding (.npy)
  WORDS         anything else that does not look like a file name
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


class Query(NamedTuple):
    """A query and what it stands for.

    Attributes:
        text: As it was given.
        kind: "region", "text", "picture" or "embedding".
        name: Of the track, safe as a file's name.
        prompt: For SeparateAV.
    """

    text: str
    kind: str
    name: str
    prompt: Any


def parse_queries(
    texts: Sequence[str],
    video: Optional[Path],
    every: Optional[float] = 1.0,
    sources: Optional[str] = None,
) -> List[Query]:
    """Read queries.

    Args:
        texts: As they were given.
        video: The input, for regions; None where it has no picture.
        every: Seconds between looks at a region; None: one look, held.
        sources: "left-right" adds the two halves of the picture.

    Raises:
        InputError: none was given, or one makes no sense.
    """
    found = []
    if sources == "left-right":
        for name, box in (("left", LEFT), ("right", RIGHT)):
            found.append((name, "region", _region(name, box, video, every)))
    found += [(text, *_parse(text, video, every)) for text in texts]
    if not found:
        raise InputError(
            "no source was asked for: give --query for each, or --sources left-right."
        )
    return [
        Query(text, kind, f"{n}_{_slug(text, kind)}", prompt)
        for n, (text, kind, prompt) in enumerate(found, 1)
    ]


def _parse(text: str, video: Optional[Path], every: Optional[float]) -> tuple:
    """Return the kind of a query and its prompt."""
    if text.startswith("box:"):
        values = text.removeprefix("box:").split(",")
        try:
            box = tuple(float(value) for value in values)
        except ValueError:
            raise InputError(
                f"--query {text!r}: expected box:left,top,right,bottom with four "
                "numbers, e.g. box:0,0,0.5,1."
            ) from None
        return "region", _region(text, box, video, every)
    if text.startswith("text:"):
        return "text", _words(text.removeprefix("text:"), text)
    if not text.strip():
        raise InputError(f"--query {text!r}: is empty.")
    path = Path(text)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):  # no name that a file can have
        is_file = is_folder = False
    if is_file:
        if path.suffix.lower() == EMBEDDING_SUFFIX:
            return "embedding", _embedding(path)
        return "picture", path
    if is_folder:
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
    return "text", _words(text, text)


def _words(words: str, text: str) -> Text:
    if not words.strip() or "\0" in words or len(words) > 1000:
        raise InputError(
            f"--query {text[:60]!r}: expected some words, at most 1000 letters."
        )
    return Text(words.strip())


def _region(text: str, box: tuple, video: Optional[Path], every) -> Region:
    check_box(box, f"--query {text!r}")
    if video is None:
        raise InputError(
            f"--query {text!r}: a region needs a video, and the input has no picture. "
            "Give a picture file instead."
        )
    return Region(video, box, every=every)


def _embedding(path: Path) -> Any:
    import numpy as np

    from espnet2_avsep.data.table_entry import load_npy

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


def _slug(text: str, kind: str) -> str:
    """Return the letters and digits of a query, for a file's name."""
    text = text.removeprefix("text:")
    # An embedding beside the user has kept its ending since the first version, and
    # scripts read these files.
    if kind == "picture" or (kind == "embedding" and "/" in text):
        text = Path(text).stem
    return (
        re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("_.")[:_NAME_LENGTH] or "track"
    )


def describe(queries: Sequence[Query]) -> List[Dict[str, str]]:
    """Return what JSON says of the queries."""
    return [{"query": q.text, "kind": q.kind, "name": q.name} for q in queries]
