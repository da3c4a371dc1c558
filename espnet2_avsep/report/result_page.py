"""The page of what one or several systems made of the same mixtures."""

import math
import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import quote

import numpy as np

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.figures.shapes import (
    Figure,
    Interval,
    interval_figure,
    line_figure,
)
from espnet2_avsep.figures.spectrogram import (
    DYNAMIC_RANGE_DB,
    HOP,
    N_FFT,
    ROWS,
    ticks,
)
from espnet2_avsep.media.picture import picture_size
from espnet2_avsep.metrics.score_table import (
    METRICS,
    MIXTURE_SAR,
    OK,
    SILENT,
    TITLES,
    ScoreRow,
    decibel,
)
from espnet2_avsep.report.audible_mixture import AudibleMixture, Source
from espnet2_avsep.report.listening import Media, file_name
from espnet2_avsep.report.render import Cell, Note, Table, render
from espnet2_avsep.report.training_log import PARTS, Curve

# Rows of the table of all sources, however many there are.
TOP_ROWS = 4000
# Mixtures that are named as the best ones, and as the worst ones.
EXTREMES = 5
_MEDIA = "media"
_DETAILS = (*METRICS, "sdr_i")

Lines = Sequence[Sequence[str]]


class Shot(NamedTuple):
    """A picture, or a spectrogram of what can be played.

    Attributes:
        label: What it is.
        about: What it is, and of which mixture; read out.
        words: Behind the label.
        src: The picture; "": there is none.
        alt: Read out instead of it.
        size: Its width and height.
        ticks: Of a spectrogram, the labels of its frequency axis.
        sound: What can be played, or "".
    """

    label: str
    about: str
    words: str = ""
    src: str = ""
    alt: str = ""
    size: Mapping[str, int] = {}
    ticks: Mapping[str, float] = {}
    sound: str = ""


class ScoredPart(NamedTuple):
    """What the page tells of one scored set.

    Attributes:
        name: Of the set.
        facts: What was scored and how.
        tables: Caption -> lines, the first one being the header.
        rows: System -> its rows, all of the same sources in the same order.
        intervals: Title -> instrument -> system -> mean SDRi and interval.
        ranked: Mixtures, from the best (for the first system) to the worst -> what they
            were ranked by.
        ranked_by: The name of that.
        listen: Those that can be listened to, in this order.
        files: Title -> file of the page's folder, linked.
    """

    name: str
    facts: Mapping[str, object]
    tables: Mapping[str, Lines]
    rows: Mapping[str, Sequence[ScoreRow]]
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    ranked: Mapping[str, float]
    ranked_by: str
    listen: Sequence[AudibleMixture]
    files: Mapping[str, str]


class RealPart(NamedTuple):
    """Real mixtures, which have no scores.

    Attributes:
        name: Of the set.
        number: How many there are.
        listen: Those that can be listened to.
    """

    name: str
    number: int
    listen: Sequence[AudibleMixture]


class Results(NamedTuple):
    """All that the page tells.

    Attributes:
        title: Of the page.
        corpus_note: What the corpus is, and is not; may be empty.
        systems: Their names.
        scores: Caption -> lines of a table of all sets, the first one being the header.
        systems_facts: System -> what it is.
        scored: Scored sets.
        real: Sets of real mixtures.
        curves: System -> curves of its training.
        prompts: How to read the pictures of prompts.
        media: (set, mixture) -> what there is to be played and shown.
        files: Title -> file of the page's folder, linked.
    """

    title: str
    corpus_note: str
    systems: Sequence[str]
    scores: Mapping[str, Lines]
    systems_facts: Mapping[str, Mapping[str, object]]
    scored: Sequence[ScoredPart]
    real: Sequence[RealPart]
    curves: Mapping[str, Sequence[Curve]]
    prompts: str
    media: Mapping[Tuple[str, str], Media]
    files: Mapping[str, str]


def page(results: Results, folder: PathLike) -> str:
    """Return the page.

    Args:
        results: What it tells.
        folder: Where it will lie, beside ``media``.
    """
    titles = {"scores": "Scores"}
    scored, real = [], []
    for part in results.scored:
        name = f"set-{file_name(part.name)}"
        titles[name] = f"{part.name}: scores"
        titles[f"{name}-all"] = f"{part.name}: every source"
        titles[f"{name}-listen"] = f"{part.name}: listen"
        shown = {
            "id": name,
            "facts": part.facts,
            "links": part.files,
            "tables": [lines_table(*each) for each in part.tables.items()],
            "figures": list(_intervals(part, results)),
            "extremes": _extremes(part, results),
            "sources": _every_source(part, results),
            "pairs": _pairs(part.name, part.listen, results, part.rows, Path(folder)),
        }
        scored.append(shown)
    for part in results.real:
        name = f"set-{file_name(part.name)}"
        titles[name] = f"{part.name}: listen"
        pairs = _pairs(part.name, part.listen, results, {}, Path(folder))
        real.append({"id": name, "number": part.number, "pairs": pairs})
    if results.curves:
        titles["training"] = "Training"
    titles["systems"] = "What was run"
    titles["how"] = "How to read this page"
    return render(
        "results.html",
        title=results.title,
        titles=titles,
        notes=list(_summary(results)),
        links=results.files,
        scores=[lines_table(*each) for each in results.scores.items()],
        scored=scored,
        real=real,
        curves={name: _curves(name, own) for name, own in results.curves.items()},
        systems=results.systems_facts,
        how=_how(results),
    )


def pair_id(dset: str, mix_id: str) -> str:
    """Return the id of a mixture's part of the page."""
    return f"pair-{file_name(dset)}-{file_name(mix_id)}"


def lines_table(caption: str, lines: Lines) -> Table:
    """Return a table of lines as RESULTS.md has them; numbers can be sorted by."""
    header, *rows = lines
    return Table(caption, header, [[_read(cell) for cell in row] for row in rows])


def _read(cell: str) -> Cell:
    """A cell that begins with a number is sorted by it."""
    found = re.match(r"-?\d+(\.\d+)?(?=$| \[)", cell)
    return Cell(cell, float(found[0]) if found else None)


def _reason(row: ScoreRow) -> str:
    """Say why a row has no SDR."""
    if row.status == SILENT:
        return f"silent source, leakage {decibel(row.leakage)} dB"
    return row.reason


def _number(value: float) -> Cell:
    shown = decibel(value)
    return Cell(shown, float(shown)) if math.isfinite(value) else Cell("")


def _summary(results: Results) -> Iterable[Note]:
    if results.corpus_note:
        yield Note("Corpus", results.corpus_note, warn=True)
    for part in results.scored:
        for name, rows in part.rows.items():
            scored = sum(row.status == OK for row in rows)
            words = f"{scored} of {len(rows)} sources scored"
            about = part.name if len(part.rows) == 1 else f"{part.name}, {name}"
            if scored:
                gains = [row.sdr_i for row in rows if row.status == OK]
                words = f"SDRi {decibel(sum(gains) / len(gains))} dB, {words}"
            leaks = [row.leakage for row in rows if row.status == SILENT]
            if leaks:
                mean = decibel(sum(leaks) / len(leaks))
                words += f"; {len(leaks)} silent by intention, leakage {mean} dB"
            yield Note(about, words, warn=scored + len(leaks) < len(rows))


def _intervals(part: ScoredPart, results: Results) -> Iterable[Figure]:
    for title, rows in part.intervals.items():
        words = f"{part.name}: mean SDRi of each instrument, 95 % interval"
        words += f", {title}" if len(part.intervals) > 1 else ""
        own = {name for marks in rows.values() for name in marks}
        systems = [name for name in results.systems if name in own]
        caption = f"{words} (bootstrap over mixtures)"
        yield interval_figure(rows, systems, words, caption, "SDRi, dB")


def _extremes(part: ScoredPart, results: Results) -> List[Table]:
    ranked = list(part.ranked)
    rows = next(iter(part.rows.values()))
    instruments: Dict[str, List[str]] = {}
    for row in rows:
        instruments.setdefault(row.mix_id, []).append(row.instrument)
    tables = []
    for title, keys in (
        ("Best", ranked[:EXTREMES]),
        ("Worst", ranked[::-1][: min(EXTREMES, max(0, len(ranked) - EXTREMES))]),
    ):
        lines = [
            [
                _link(part.name, key, results),
                ", ".join(instruments[key]),
                _number(part.ranked[key]),
            ]
            for key in keys
        ]
        if lines:
            caption = f"{title} mixtures of {part.name}, by {part.ranked_by}"
            tables.append(Table(caption, ["mixture", "sources", part.ranked_by], lines))
    return tables


def _link(dset: str, mix_id: str, results: Results) -> Cell:
    is_there = (dset, mix_id) in results.media
    return Cell(mix_id, href=f"#{pair_id(dset, mix_id)}" if is_there else "")


def _every_source(part: ScoredPart, results: Results) -> Table:
    tables = list(part.rows.values())
    header = ["mixture", "source", "instrument", "clip", "SDR of mixture"]
    single = len(tables) == 1
    if single:
        header += [TITLES[name] for name in _DETAILS]
    else:
        header += [f"SDR, {name}" for name in part.rows]
        header.append("first - second" if len(tables) == 2 else "greatest - least")
    header.append("not scored")
    lines = []
    for own in zip(*tables, strict=True):
        row = own[0]
        line = [
            _link(part.name, row.mix_id, results),
            row.source,
            row.instrument,
            row.clip,
            _number(row.sdr_mix),
        ]
        if single:
            scored = row.status == OK
            values = [getattr(row, name) if scored else math.nan for name in _DETAILS]
            line += [_number(value) for value in values]
        else:
            values = [r.sdr if r.status == OK else math.nan for r in own]
            line += [_number(value) for value in values]
            if len(values) == 2:
                gap = values[0] - values[1]
            else:  # NaN where one is
                gap = float(np.max(values) - np.min(values))
            line.append(_number(gap))
        reasons = (_reason(r) for r in own if r.status != OK)
        line.append("; ".join(dict.fromkeys(reasons)))
        lines.append(line)
    caption = f"{part.name}: {len(lines)} sources"
    if len(lines) > TOP_ROWS:
        caption += f", the first {TOP_ROWS}; all: scores.tsv"
    return Table(caption, header, lines[:TOP_ROWS], filterable=True)


def _pairs(
    dset: str,
    mixtures: Sequence[AudibleMixture],
    results: Results,
    rows: Mapping[str, Sequence[ScoreRow]],
    folder: Path,
) -> List[Dict[str, Any]]:
    """Return the parts of the page that open to players and pictures."""
    scores = {
        (name, row.mix_id, row.source): row
        for name, table_rows in rows.items()
        for row in table_rows
    }
    pairs = []
    for mixture in mixtures:
        media, first = results.media[dset, mixture.mix_id], results.systems[0]
        keys = [(first, mixture.mix_id, n + 1) for n in range(len(mixture.sources))]
        gains = ", ".join(decibel(scores[key].sdr_i) for key in keys if key in scores)
        whose = f" of {first}" if len(results.systems) > 1 else ""
        shots = _Shots(media, folder)
        span = f"{media.seconds:.1f} s, {media.fs} Hz"
        pair = {
            "id": pair_id(dset, mixture.mix_id),
            "mix_id": mixture.mix_id,
            "names": " + ".join(source.title for source in mixture.sources),
            "score": f"SDRi{whose} {gains} dB" if gains else "",
            "media": media,
            "mixture": shots.sound(
                "mixture", "mixture", f"Mixture of {mixture.mix_id}", span
            ),
            "sources": [
                (
                    f"Source {n}: {source.title}",
                    _source(mixture.mix_id, n, source, shots, results.systems, scores),
                )
                for n, source in enumerate(mixture.sources, 1)
            ],
        }
        pairs.append(pair)
    return pairs


class _Shots:
    """Makes the shots of a mixture from the files in its folder."""

    def __init__(self, media: Media, folder: Path):
        self.media, self._ticks = media, ticks(media.fs / 2)
        self._folder = folder / _MEDIA / media.folder

    def picture(self, name: str, label: str, alt: str) -> Shot:
        """Return a shot of a picture."""
        src, size = self._href(name), picture_size(self._folder / name)
        return Shot(label, alt, src=src, alt=alt, size=size)

    def spectrogram(self, name: str, label: str, alt: str) -> Shot:
        """Return a shot with axes."""
        return self.picture(name, label, alt)._replace(ticks=self._ticks)

    def sound(self, name: str, label: str, about: str, words: str = "") -> Shot:
        """Return a spectrogram over a link that the script makes a player."""
        shot = self.spectrogram(f"{name}.png", label, f"Spectrogram: {about}")
        sound = self._href(f"{name}.flac")
        return shot._replace(about=about, words=words, sound=sound)

    def _href(self, name: str) -> str:
        return quote(f"{_MEDIA}/{self.media.folder}/{name}")


def _source(
    mix_id: str,
    n: int,
    source: Source,
    shots: _Shots,
    systems: Sequence[str],
    scores: Mapping[Tuple[str, str, int], ScoreRow],
) -> List[Shot]:
    """Return prompt, reference, estimates and masks of one source."""
    about, name = f"source {n} of {mix_id}", f"prompt{n}.jpg"
    words = f"prompt: {source.prompt.words}"
    if name in shots.media.files:
        found = [shots.picture(name, words, f"Pictures that prompted {about}")]
    else:
        words += f"; no picture: {shots.media.prompts[n - 1]}"
        found = [Shot(words, words)]
    if source.reference:
        sound = shots.sound(f"reference{n}", "reference", f"Reference, {about}")
        found.append(sound)
    masks = []
    for k, system in enumerate(systems, 1):
        label = system if len(systems) > 1 else "separated"
        row = scores.get((system, mix_id, n))
        words = ""
        if row is not None and row.status == OK:
            pairs = (f"{TITLES[m]} {decibel(getattr(row, m))}" for m in _DETAILS)
            words = ", ".join(pairs)
        elif row is not None:
            words = f"not scored: {_reason(row)}"
        name = f"system{k}_estimate{n}"
        found.append(shots.sound(name, label, f"{label}, {about}", words))
        name, alt = f"system{k}_mask{n}.png", f"Mask of {label}, {about}"
        masks.append(shots.spectrogram(name, f"mask, {label}", alt))
    return found + masks


def _curves(system: str, curves: Sequence[Curve]) -> List[Figure]:
    figures = []
    for curve in curves:
        series = {part: curve.values.get(part, {}) for part in PARTS}
        caption = curve.name
        if curve.same:
            caption += f" (the same: {', '.join(curve.same)})"
        title = f"{curve.name} over the epochs of {system}"
        figures.append(line_figure(series, title, caption))
    return figures


def _how(results: Results) -> List[str]:
    clipped = sum(media.clipped for media in results.media.values())
    lines = [
        "The folder of this page has all that it links, and can be copied as it is.",
        "Scores are those of scores.tsv and RESULTS.md, computed and rounded by the "
        f"same functions. {MIXTURE_SAR} What could not be scored is in the table of "
        "every source, with the reason.",
        "Sounds are 16-bit copies at the rate of the scored files, at one and the same "
        "gain, so that what is heard is what was scored. A player appears where a "
        "mixture is opened. Starting one stops the others of its mixture and goes on "
        f"where they were. {clipped} samples were beyond full scale and clipped.",
        f"Spectrograms: window {N_FFT}, hop {HOP}, {ROWS} rows from low to high on the "
        f"logarithmic axis of the networks, {DYNAMIC_RANGE_DB} dB below the mixture's "
        "maximum. Masks: the magnitude of what was separated over that of the mixture, "
        "0 black, 1 and more white; made from the sounds, so that it is there for "
        "systems without masks too.",
        "Of each scored set, a quarter of the mixtures to listen to are the best, a "
        "quarter the worst, the others are spread over the ranks between; "
        "--max_mixtures says how many.",
        results.prompts,
    ]
    return [line for line in lines if line]
