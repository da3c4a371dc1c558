"""The page of what one or several systems made of the same mixtures."""

import math
import os
import re
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import quote

from espnet2_avsep.data.scp import PathLike
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
from espnet2_avsep.report.chart import Interval, interval_chart, line_chart
from espnet2_avsep.report.html import (
    Cell,
    Content,
    Html,
    document,
    element,
    join,
    note,
    table,
)
from espnet2_avsep.report.listening import Media, file_name
from espnet2_avsep.report.spectrogram import DYNAMIC_RANGE_DB, HOP, N_FFT, ROWS
from espnet2_avsep.report.training_log import PARTS, Curve

# Rows of the table of all sources, however many there are.
TOP_ROWS = 4000
# Mixtures that are named as the best ones, and as the worst ones.
EXTREMES = 5
_MEDIA = "media"
_DETAILS = (*METRICS, "sdr_i")

Lines = Sequence[Sequence[str]]


class ScoredPart(NamedTuple):
    """What the page tells of one scored set.

    Attributes:
        name: Of the set.
        facts: What was scored and how.
        tables: Caption -> lines, the first one being the header.
        rows: System -> its rows, all of the same sources in the same order.
        intervals: Instrument -> system -> mean SDRi and interval.
        ranked: Mixtures, from the best (for the first system) to the worst -> what they
            were ranked by.
        ranked_by: The name of that.
        listen: Those that can be listened to, in this order.
        files: Title -> file, linked where it is there.
    """

    name: str
    facts: Mapping[str, object]
    tables: Mapping[str, Lines]
    rows: Mapping[str, Sequence[ScoreRow]]
    intervals: Mapping[str, Mapping[str, Interval]]
    ranked: Mapping[str, float]
    ranked_by: str
    listen: Sequence[AudibleMixture]
    files: Mapping[str, Path]


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
        scores: Lines of the table of all sets, the first one being the header.
        systems_facts: System -> what it is.
        scored: Scored sets.
        real: Sets of real mixtures.
        curves: System -> curves of its training.
        prompts: How to read the pictures of prompts.
        media: (set, mixture) -> what there is to be played and shown.
        files: Title -> file, linked where it is there.
    """

    title: str
    corpus_note: str
    systems: Sequence[str]
    scores: Lines
    systems_facts: Mapping[str, Mapping[str, object]]
    scored: Sequence[ScoredPart]
    real: Sequence[RealPart]
    curves: Mapping[str, Sequence[Curve]]
    prompts: str
    media: Mapping[Tuple[str, str], Media]
    files: Mapping[str, Path]


def page(results: Results, folder: PathLike) -> str:
    """Return the page.

    Args:
        results: What it tells.
        folder: Where it will lie, beside ``media``; other files are linked relative to
            it.
    """
    titles = {"scores": "Scores"}
    sections: Dict[str, Content] = {"scores": _scores(results, Path(folder))}
    for part in results.scored:
        name = f"set-{file_name(part.name)}"
        titles[name] = f"{part.name}: scores"
        sections[name] = _scored(part, results, Path(folder))
        titles[f"{name}-all"] = f"{part.name}: every source"
        sections[f"{name}-all"] = _every_source(part, results)
        titles[f"{name}-listen"] = f"{part.name}: listen"
        sections[f"{name}-listen"] = _listen(part.name, part.listen, results, part.rows)
    for part in results.real:
        name = f"set-{file_name(part.name)}"
        titles[name] = f"{part.name}: listen"
        words = f"{part.number} real mixtures, separated; nothing can score them: there"
        words += " are no references."
        listen = _listen(part.name, part.listen, results, {})
        sections[name] = join([element("p", words), listen])
    if results.curves:
        titles["training"] = "Training"
        sections["training"] = _training(results.curves)
    titles["systems"] = "What was run"
    sections["systems"] = _systems(results.systems_facts)
    titles["how"] = "How to read this page"
    sections["how"] = _how(results)
    above = [element("ul", *_summary(results), class_="findings")]
    return document(results.title, above, titles, sections)


def pair_id(dset: str, mix_id: str) -> str:
    """Return the id of a mixture's part of the page."""
    return f"pair-{file_name(dset)}-{file_name(mix_id)}"


def inline(text: object) -> Html:
    """Return one line of RESULTS.md as HTML: **bold** and `code` are known."""
    pieces = re.split(r"\*\*(.+?)\*\*|`([^`]+)`", str(text))
    parts: List[Content] = []
    for n in range(0, len(pieces), 3):
        parts.append(pieces[n])
        if n + 2 < len(pieces):
            bold, code = pieces[n + 1], pieces[n + 2]
            parts.append(element("b", bold) if bold else element("code", code))
    return join(parts)


def lines_table(caption: str, lines: Lines, filterable: bool = False) -> Html:
    """Return a table of lines as RESULTS.md has them; numbers can be sorted by."""
    header, *rows = lines
    cells = [[_read(cell) for cell in row] for row in rows]
    return table(caption, header, cells, filterable)


def _read(cell: str):
    """A cell that begins with a number is sorted by it."""
    found = re.match(r"-?\d+(\.\d+)?(?=$| \[)", cell)
    return Cell(cell, float(found[0])) if found else cell


def _reason(row: ScoreRow) -> str:
    """Say why a row has no SDR."""
    if row.status == SILENT:
        return f"silent source, leakage {decibel(row.leakage)} dB"
    return row.reason


def _number(value: float):
    shown = decibel(value)
    return Cell(shown, float(shown)) if math.isfinite(value) else ""


def _summary(results: Results) -> Iterable[Html]:
    if results.corpus_note:
        yield note("Corpus", results.corpus_note, warn=True)
    for part in results.scored:
        for name, rows in part.rows.items():
            scored = sum(row.status == OK for row in rows)
            words = f"{scored} of {len(rows)} sources scored"
            about = part.name if len(part.rows) == 1 else f"{part.name}, {name}"
            if scored:
                gains = [row.sdr_i for row in rows if row.status == OK]
                words += f", SDRi {decibel(sum(gains) / len(gains))} dB"
            leaks = [row.leakage for row in rows if row.status == SILENT]
            if leaks:
                mean = decibel(sum(leaks) / len(leaks))
                words += f"; {len(leaks)} silent by intention, leakage {mean} dB"
            yield note(about, words, warn=scored + len(leaks) < len(rows))


def _links(files: Mapping[str, Path], folder: Path) -> Html:
    links = [
        element("a", title, href=quote(os.path.relpath(path, folder)))
        for title, path in files.items()
        if path.is_file()
    ]
    parts = [part for link in links for part in (link, " ")]
    return element("p", "Files: ", *parts) if links else Html("")


def _scores(results: Results, folder: Path) -> Html:
    parts = [_links(results.files, folder)]
    if results.scores:
        words = "Means in dB over the n scored sources of all mixtures, 95 % interval"
        parts.append(lines_table(words, results.scores))
    return join(parts)


def _facts(facts: Mapping[str, object]) -> Html:
    pairs = (
        join([element("dt", name), element("dd", inline(value))])
        for name, value in facts.items()
    )
    return element("dl", *pairs)


def _scored(part: ScoredPart, results: Results, folder: Path) -> Html:
    parts = [_facts(part.facts), _links(part.files, folder)]
    parts += [lines_table(caption, lines) for caption, lines in part.tables.items()]
    if part.intervals:
        words = f"{part.name}: mean SDRi of each instrument, 95 % interval"
        chart = interval_chart(part.intervals, results.systems, words, "SDRi, dB")
        caption = element("figcaption", f"{words} (bootstrap over mixtures)")
        parts.append(element("figure", chart, caption, class_="wide"))
    parts.append(_extremes(part, results))
    return join(parts)


def _extremes(part: ScoredPart, results: Results) -> Html:
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
            header = ["mixture", "sources", part.ranked_by]
            tables.append(element("div", table(caption, header, lines)))
    return element("div", *tables, class_="row")


def _link(dset: str, mix_id: str, results: Results) -> Content:
    if (dset, mix_id) not in results.media:
        return mix_id
    return element("a", mix_id, href=f"#{pair_id(dset, mix_id)}")


def _every_source(part: ScoredPart, results: Results) -> Html:
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
            gap = values[0] - values[1]
            if len(values) > 2:
                gap = (
                    max(values) - min(values)
                    if all(map(math.isfinite, values))
                    else math.nan
                )
            line.append(_number(gap))
        reasons = (_reason(r) for r in own if r.status != OK)
        line.append("; ".join(dict.fromkeys(reasons)))
        lines.append(line)
    caption = f"{part.name}: {len(lines)} sources"
    if len(lines) > TOP_ROWS:
        caption += f", the first {TOP_ROWS}; all: scores.tsv"
    words = (
        "Links open the sounds. The field above the table shows rows that hold all of "
        "its words; a word such as SDR<0 or SIR>10 compares a column."
    )
    return join(
        [
            element("p", words, class_="soft"),
            table(caption, header, lines[:TOP_ROWS], filterable=True),
        ]
    )


def _listen(
    dset: str,
    mixtures: Sequence[AudibleMixture],
    results: Results,
    rows: Mapping[str, Sequence[ScoreRow]],
) -> Html:
    """Return the parts of the page that open to players and pictures."""
    scores = {
        (name, row.mix_id, row.source): row
        for name, table_rows in rows.items()
        for row in table_rows
    }
    parts = [
        _pair(mixture, results.media[dset, mixture.mix_id], results.systems, scores)
        for mixture in mixtures
    ]
    if not parts:
        return element("p", "None was asked for (--max_mixtures).")
    return join(parts)


def _pair(
    mixture: AudibleMixture,
    media: Media,
    systems: Sequence[str],
    scores: Mapping[Tuple[str, str, int], ScoreRow],
) -> Html:
    names = " + ".join(source.title for source in mixture.sources)
    found = [
        scores[system, mixture.mix_id, n]
        for system in systems[:1]
        for n in range(1, len(mixture.sources) + 1)
        if (system, mixture.mix_id, n) in scores
    ]
    gains = ", ".join(decibel(row.sdr_i) for row in found)
    whose = f" of {systems[0]}" if len(systems) > 1 else ""
    summary = element(
        "summary",
        element("b", mixture.mix_id),
        f" {names}",
        element("span", f"SDRi{whose} {gains} dB", class_="soft") if found else "",
    )
    span = f"{media.seconds:.1f} s, {media.fs} Hz"
    blocks = [
        element(
            "div",
            _sound(media, "mixture", f"Mixture of {mixture.mix_id}", "mixture", span),
            class_="tracks",
        )
    ]
    for n, source in enumerate(mixture.sources, 1):
        blocks.append(element("h3", f"Source {n}: {source.title}"))
        blocks.append(_source(mixture, n, source, media, systems, scores))
    return element(
        "details",
        summary,
        *blocks,
        class_="pair",
        id=pair_id(mixture.dset, mixture.mix_id),
    )


def _source(
    mixture: AudibleMixture,
    n: int,
    source: Source,
    media: Media,
    systems: Sequence[str],
    scores: Mapping[Tuple[str, str, int], ScoreRow],
) -> Html:
    """Return prompt, reference, estimates and masks of one source."""
    figures = []
    about = f"source {n} of {mixture.mix_id}"
    name = f"prompt{n}.jpg"
    if name in media.files:
        figures.append(
            element(
                "figure",
                _image(media, name, f"Pictures that prompted {about}"),
                element("figcaption", f"prompt: {source.prompt.words}"),
            )
        )
    else:
        words = f"prompt: {source.prompt.words}; no picture: {media.prompts[n - 1]}"
        figures.append(element("figure", element("figcaption", words)))
    if source.reference:
        figures.append(
            _sound(media, f"reference{n}", f"Reference, {about}", "reference")
        )
    masks = []
    for k, system in enumerate(systems, 1):
        label = system if len(systems) > 1 else "separated"
        row = scores.get((system, mixture.mix_id, n))
        words = ""
        if row is not None and row.status == OK:
            pairs = (f"{TITLES[m]} {decibel(getattr(row, m))}" for m in _DETAILS)
            words = ", ".join(pairs)
        elif row is not None:
            words = f"not scored: {_reason(row)}"
        figures.append(
            _sound(media, f"system{k}_estimate{n}", f"{label}, {about}", label, words)
        )
        image = _image(media, f"system{k}_mask{n}.png", f"Mask of {label}, {about}")
        caption = element("figcaption", f"mask, {label}")
        masks.append(element("figure", image, caption))
    figures += masks
    return element("div", *figures, class_="tracks")


def _sound(media: Media, name: str, title: str, label: str, words: str = "") -> Html:
    """Return a spectrogram over a link that the script makes a player."""
    link = element(
        "a", label, class_="sound", href=_href(media, f"{name}.flac"), aria_label=title
    )
    image = _image(media, f"{name}.png", f"Spectrogram: {title}")
    caption = element("figcaption", link, f" {words}" if words else "")
    return element("figure", image, caption)


def _image(media: Media, name: str, alt: str) -> Html:
    return element("img", src=_href(media, name), alt=alt, loading="lazy")


def _href(media: Media, name: str) -> str:
    return quote(f"{_MEDIA}/{media.folder}/{name}")


def _training(curves: Mapping[str, Sequence[Curve]]) -> Html:
    parts = []
    for system, own in curves.items():
        if len(curves) > 1:
            parts.append(element("h3", system))
        figures = []
        for curve in own:
            title = f"{curve.name} over the epochs of {system}"
            series = {part: curve.values.get(part, {}) for part in PARTS}
            chart = line_chart(series, title)
            figures.append(element("figure", chart, element("figcaption", curve.name)))
        parts.append(element("div", *figures, class_="charts"))
    return join(parts)


def _systems(facts: Mapping[str, Mapping[str, object]]) -> Html:
    parts = []
    for system, own in facts.items():
        parts += [element("h3", system), _facts(own)]
    return join(parts)


def _how(results: Results) -> Html:
    clipped = sum(media.clipped for media in results.media.values())
    lines = [
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
    return element("ul", *(element("li", inline(line)) for line in lines if line))
