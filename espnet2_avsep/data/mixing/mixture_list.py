"""Lists of fixed mixtures: what one is, mixtures.tsv, lists of pairs."""

import logging
import re
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

from espnet2_avsep.data.segment_reader import nearest_row
from espnet2_avsep.data.tables.clip_id import ClipFinder, check_id, stem_key
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import Skipped
from espnet2_avsep.data.tables.tsv import format_tsv
from espnet2_avsep.errors import InputError

STAGE = "mixture list"


class Source(NamedTuple):
    """One source of a mixture.

    Attributes:
        clip: Id of the clip.
        spk: Its class.
        start: First sample of the segment.
        frame: Row of the visual matrix.
        silent: Whether only its picture is there, and its sound is silence.
    """

    clip: str
    spk: str
    start: int
    frame: int
    silent: bool = False


class Mixture(NamedTuple):
    """A mixture: its id and its sources in order."""

    mix_id: str
    sources: Tuple[Source, ...]


class ClipTable(NamedTuple):
    """The clips mixtures are made of; all maps have the same keys.

    Attributes:
        wav: Clip -> audio file.
        visual: Clip -> visual matrix.
        category: Clip -> class.
        num_samples: Clip -> number of samples.
        num_rows: Clip -> number of visual rows.
        rows: Stem of a condition (data/conditions.py) -> clip -> matrix of its rows.
    """

    wav: Dict[str, str]
    visual: Dict[str, str]
    category: Dict[str, str]
    num_samples: Dict[str, int]
    num_rows: Dict[str, int]
    rows: Mapping[str, Dict[str, str]] = {}


def centre_source(clips: ClipTable, clip: str, segment_samples: int) -> Source:
    """Return the centre segment of a clip and the visual row nearest to its middle."""
    start = (clips.num_samples[clip] - segment_samples) // 2
    frame = nearest_row(
        start, segment_samples, clips.num_samples[clip], clips.num_rows[clip]
    )
    return Source(clip, clips.category[clip], start, frame)


def format_table(mixtures: List[Mixture]) -> bytes:
    """Return the bytes of mixtures.tsv: a header, and a line for each mixture.

    The columns ``silent{n}``, 0 or 1, are there if any source is silent.
    """
    columns = ["clip", "spk", "start", "frame"]
    if any(source.silent for mixture in mixtures for source in mixture.sources):
        columns.append("silent")
    header = ["mix_id"]
    for n in range(1, len(mixtures[0].sources) + 1):
        header += [f"{column}{n}" for column in columns]
    rows = []
    for mixture in mixtures:
        row: List[Union[str, int]] = [mixture.mix_id]
        for source in mixture.sources:
            values = source._replace(silent=int(source.silent))
            row += values[: len(columns)]
        rows.append(row)
    return format_tsv(header, rows).encode()


def read_mixture_list(
    path: Union[str, Path], clips: ClipTable, num_sources: int, segment_samples: int
) -> Tuple[List[Mixture], List[Skipped]]:
    """Read which mixtures are to be made.

    Args:
        path: A mixtures.tsv (first word ``mix_id``): ids, starts, frames and silent
            sources are kept.
            Else N columns, separated by tabs, commas or blanks: ids of clips, or names
            of files as ``any/folder/category/video.wav`` (the lists of iQuery, DGFNet
            and DAVIS), or only video ids where they are unambiguous; lines that begin
            with # are passed over. Line i makes mixture i. Centre segments are used,
            unless N further columns hold the segments' first samples.
        clips: The clips that are there.
        num_sources: Number of sources N.
        segment_samples: Samples of a mixture.

    Returns:
        The mixtures, and those that cannot be made because a clip is not there or is
        shorter than a segment.

    Raises:
        InputError: the list cannot be read; nothing is left of it.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the list of mixtures cannot be read ({error})."
        ) from error
    numbered = [
        (n, line)
        for n, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if numbered and numbered[0][1].split("\t")[0] == "mix_id":
        rows = _table_rows(path, numbered, num_sources)
    else:
        rows = _pair_rows(path, numbered, num_sources)
    finder = ClipFinder(clips.category)
    mixtures: List[Mixture] = []
    skipped: List[Skipped] = []
    for number, mix_id, wanted in rows:
        found = [finder.find(f"{path}, line {number}", w.clip) for w in wanted]
        if None in found:
            names = [w.clip for w, clip in zip(wanted, found, strict=True) if not clip]
            reason = f"clip not in the set: {', '.join(names)}"
            skipped.append(Skipped(mix_id, STAGE, reason))
            continue
        if len(set(found)) < len(found):
            raise InputError(
                f"{path}, line {number}: a clip is mixed with itself; the sources of a "
                "mixture must be different clips."
            )
        short = [c for c in found if clips.num_samples[c] < segment_samples]
        if short:
            reason = f"clip shorter than a segment: {', '.join(short)}"
            skipped.append(Skipped(mix_id, STAGE, reason))
            continue
        sources = []
        for clip, (_, start, frame, silent) in zip(found, wanted, strict=True):
            source = centre_source(clips, clip, segment_samples)._replace(silent=silent)
            if start is not None:
                if frame is None:
                    num = clips.num_samples[clip], clips.num_rows[clip]
                    frame = nearest_row(start, segment_samples, *num)
                source = source._replace(start=start, frame=frame)
                last = clips.num_samples[clip] - segment_samples
                if start > last or frame >= clips.num_rows[clip]:
                    raise InputError(
                        f"{path}, line {number}: {clip} from sample {start}, frame "
                        f"{frame}; the clip allows samples up to {last}, frames up to "
                        f"{clips.num_rows[clip] - 1}. The list belongs to other data."
                    )
            sources.append(source)
        mixtures.append(Mixture(mix_id, tuple(sources)))
    if not mixtures:
        raise InputError(
            f"{path}: none of the {len(skipped)} mixtures can be made, "
            + (f"for instance {skipped[0].reason}" if skipped else "the list is empty")
            + f". The set has clips such as {shorten(sorted(clips.wav))}."
        )
    if skipped:
        logging.warning(f"{path}: {len(skipped)} mixtures cannot be made")
    return mixtures, skipped


class _Wanted(NamedTuple):
    """A source as a list has it; None: not stated there."""

    clip: str
    start: Optional[int]
    frame: Optional[int]
    silent: bool


_Row = Tuple[int, str, List[_Wanted]]


def _table_rows(
    path: Path, numbered: List[Tuple[int, str]], num_sources: int
) -> Iterator[_Row]:
    columns = numbered[0][1].split("\t")
    found = sum(re.fullmatch("clip[0-9]+", name) is not None for name in columns)
    if found != num_sources:
        raise InputError(
            f"{path}: has {found} sources a mixture, num_sources is {num_sources}."
        )
    seen = set()
    for number, line in numbered[1:]:
        values = dict(zip(columns, line.split("\t"), strict=False))
        try:
            wanted = []
            for n in range(1, num_sources + 1):
                start, frame = int(values[f"start{n}"]), int(values[f"frame{n}"])
                if start < 0 or frame < 0:
                    raise ValueError("a negative number")
                silent = int(values.get(f"silent{n}", 0))
                if silent not in (0, 1):
                    raise ValueError(f"silent{n} is {silent}, neither 0 nor 1")
                wanted.append(_Wanted(values[f"clip{n}"], start, frame, bool(silent)))
            if all(source.silent for source in wanted):
                raise ValueError("all sources are silent; at least one must sound")
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{path}, line {number}: cannot be read ({error}); expected the "
                f"columns {', '.join(columns)}, separated by tabs."
            ) from error
        mix_id = check_id(f"{path}, line {number}", values["mix_id"])
        if mix_id in seen or stem_key(mix_id) != mix_id:
            raise InputError(
                f"{path}, line {number}: the id {mix_id!r} comes twice or has "
                "characters that a file name should not have."
            )
        seen.add(mix_id)
        yield number, mix_id, wanted


def _pair_rows(
    path: Path, numbered: List[Tuple[int, str]], num_sources: int
) -> Iterator[_Row]:
    for i, (number, line) in enumerate(numbered):
        separator = next((s for s in ("\t", ",") if s in line), None)
        names = [name.strip().strip('"') for name in line.strip().split(separator)]
        starts: List[Optional[int]] = [None] * num_sources
        more = names[num_sources:]
        if len(more) == num_sources and all(map(str.isdecimal, more)):
            starts = [int(start) for start in more]
            names = names[:num_sources]
        if len(names) != num_sources:
            raise InputError(
                f"{path}, line {number}: {len(names)} columns; num_sources = "
                f"{num_sources} clips were expected (and perhaps as many first "
                "samples), separated by tabs, commas or blanks."
            )
        wanted = [_Wanted(*w, None, False) for w in zip(names, starts, strict=True)]
        yield number, f"mix{i:05d}", wanted
