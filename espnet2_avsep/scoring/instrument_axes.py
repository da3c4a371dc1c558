"""Instruments on two acoustic axes, and which fusion wins there (HFRA, figure 1)."""

import itertools
import json
import logging
import math
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.analysis.clip_analysis import (
    bullet_list,
    finite_bounds,
    with_interval,
    write_figures,
    write_texts,
)
from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import bold, document, markdown_table
from espnet2_avsep.metrics.score_table import OK, ScoreRow
from espnet2_avsep.scoring.experiments import (
    REFERENCE,
    Experiment,
    check_comparable,
    merge_seeds,
    read_experiment,
)

DEFINITION = (
    "Amplitude ratio: max|x| / rms(x). Harmonic complexity: 1 - sum(E_i / i) / "
    "sum(E_i), E_i the energy of harmonic i = 1 ... 8 of pYIN's pitch, averaged over "
    "the voiced frames; 0: all energy in the fundamental. Means over an instrument's "
    "clips with 95 % bootstrap intervals."
)
AXES = {
    "amplitude_ratio": "amplitude ratio",
    "harmonic_complexity": "harmonic complexity",
}


@dataclass(kw_only=True)
class AxesOptions(Log):
    """What to do, and how."""

    clips_dir: List[str] = option(
        ...,
        "clips to be measured: wav.scp (any media file) and utt2spk, e.g. "
        "dump/raw/<train_set>, dump/raw/org/<test_set>_clips or data/<set>; repeat",
        repeat=True,
    )
    output_dir: str = option(..., "where the files go")
    experiment: List[str] = option(
        [],
        "folder that holds scored_<set>, e.g. middle=exp/avsep_...; repeat; trainings "
        "of one name are the seeds of one system; without any, the instruments are "
        "measured only",
        repeat=True,
        metavar="[NAME=]DIR",
    )
    set: str = option("test", "which scored_<set>")
    segment_seconds: float = option(
        5.0,
        "length of a segment in s, in which a pitch is sought",
        least=0.5,
        most=86400,
    )
    segments: int = option(
        4, "segments of a clip, spread evenly, that are measured", least=1
    )
    fmin: float = option(65.4, "lowest pitch in Hz (C2)", least=20)
    fmax: float = option(2093.0, "highest pitch in Hz (C7)", above=20, most=100000)
    silence_dbfs: float = option(
        -60.0, "segments whose RMS is lower are not measured", least=-math.inf, most=0
    )
    nj: int = option(1, "processes", least=1)
    plots: bool = option(True, "draw the picture (true or false)")
    resamples: int = option(10000, "of the bootstrap", least=1)
    seed: int = option(0, "of the bootstrap", least=0)
    corpus_note: str = option("", "text at the top: what the corpus is")


class Measured(NamedTuple):
    """A clip's place on the axes, or why it has none (``reason``)."""

    clip: str
    instrument: str
    amplitude_ratio: float = math.nan
    harmonic_complexity: float = math.nan
    voiced: float = math.nan
    segments: int = 0
    reason: str = ""


def place_instruments(args: AxesOptions) -> None:
    """Measure the clips; write the tables and the picture."""
    check_options(args)
    experiments = [read_experiment(text, args.set) for text in args.experiment]
    if experiments:
        check_comparable(experiments)
        experiments = merge_seeds(experiments)
    clips = read_clips(args.clips_dir)
    measured = measure_all(args, clips)
    summary = summarise(args, measured, experiments)
    text = markdown(args, summary, experiments)
    folder = Path(args.output_dir)
    if args.plots:
        write_figures(folder, {"acoustic_axes.png": draw(summary, experiments)})
    write_texts(
        folder,
        {
            "acoustic_axes_clips.tsv": clip_lines(measured),
            "acoustic_axes.json": json.dumps(summary, indent=2) + "\n",
            "acoustic_axes.md": text,
        },
    )
    print(text)


def check_options(args: AxesOptions) -> None:
    """Raise an InputError for numbers that cannot be."""
    if args.fmin >= args.fmax:
        raise InputError(f"--fmin {args.fmin}: expected less than --fmax {args.fmax}.")


def read_clips(folders: Sequence[str]) -> Dict[str, Tuple[str, str]]:
    """Clip -> (sound, instrument), of all folders.

    Raises:
        InputError: a table is missing, tables disagree, or a clip is in two folders.
    """
    from espnet2_avsep.data.tables.clip_folder import read_clip_tables

    clips: Dict[str, Tuple[str, str]] = {}
    for folder in map(Path, folders):
        wav, spk = read_clip_tables(folder, "wav.scp", "utt2spk")
        both = sorted(set(clips) & set(wav))
        if both:
            raise InputError(
                f"--clips_dir {folder}: {both[0]} (and {len(both) - 1} other clips) "
                "are in another --clips_dir too; give each clip once."
            )
        clips.update({key: (wav[key], spk[key]) for key in wav})
    return clips


def measure_all(args: AxesOptions, clips: Dict[str, Tuple[str, str]]) -> List[Measured]:
    """Measure clips, sorted by name."""
    from espnet2_avsep.data.processes import map_in_processes
    from espnet2_avsep.data.records.progress import Progress

    tasks = [(args, clip, *clips[clip]) for clip in sorted(clips, key=str.encode)]
    progress = Progress(len(tasks))
    found: List[Measured] = []
    for row in map_in_processes(measure, tasks, args.nj):
        found.append(row)
        progress.step()
    return found


def measure(task: Tuple[AxesOptions, str, str, str]) -> Measured:
    """Measure a clip."""
    from espnet2_avsep.analysis.acoustic_axes import FRAME_LENGTH, clip_axes
    from espnet2_avsep.analysis.segment_choice import even_starts
    from espnet2_avsep.data.audio.audio_io import read_audio
    from espnet2_avsep.data.segment_reader import is_silent
    from espnet2_avsep.media.container import ClipError

    args, clip, source, instrument = task
    try:
        wave, fs = read_audio(source)
    except ClipError as error:
        return Measured(clip, instrument, reason=error.reason)
    length = min(round(args.segment_seconds * fs), len(wave))
    if length < FRAME_LENGTH:
        return Measured(clip, instrument, reason=f"shorter than {FRAME_LENGTH} samples")
    starts = sorted(set(even_starts(len(wave), length, args.segments)))
    parts = [wave[start : start + length] for start in starts]
    loud = [part for part in parts if not is_silent(part, args.silence_dbfs)]
    if not loud:
        return Measured(clip, instrument, reason="silent")
    axes = clip_axes(loud, fs, args.fmin, min(args.fmax, 0.49 * fs))
    return Measured(clip, instrument, *axes, len(loud))


def clip_lines(measured: Sequence[Measured]) -> str:
    """Return acoustic_axes_clips.tsv."""
    from espnet2_avsep.data.tables.tsv import format_tsv

    rows = (
        [f"{x:.6f}" if isinstance(x, float) else x for x in row] for row in measured
    )
    return format_tsv(Measured._fields, rows)


def mean_with_interval(
    values: Sequence[float], groups: Sequence[str], args: AxesOptions
) -> Dict[str, Any]:
    """Mean, 95 % interval and number of values; nothing of none."""
    from espnet2_avsep.metrics.bootstrap import bootstrap_interval

    if not values:
        return {"mean": None, "interval": [None, None], "n": 0}
    bounds = bootstrap_interval(values, groups, 0.95, args.resamples, args.seed)
    return {
        "mean": statistics.fmean(values),
        "interval": finite_bounds(bounds),
        "n": len(values),
    }


def summarise(
    args: AxesOptions,
    measured: Sequence[Measured],
    experiments: Sequence[Experiment],
) -> Dict[str, Any]:
    """Return what acoustic_axes.json holds.

    Raises:
        InputError: no clip could be measured.
    """
    good = [row for row in measured if not row.reason]
    if not good:
        reasons = Counter(row.reason for row in measured).most_common(1)
        raise InputError(
            f"--clips_dir: none of the {len(measured)} clips could be measured; "
            f"{reasons[0][1]} of them: {reasons[0][0]}."
        )
    scores = common_scores(experiments)
    rivals = [e.name for e in experiments if e.group != REFERENCE]
    instruments: Dict[str, Any] = {}
    for name in sorted({row.instrument for row in measured}):
        own = [row for row in good if row.instrument == name]
        entry: Dict[str, Any] = {"clips": len(own)}
        for axis in AXES:
            pairs = [(getattr(row, axis), row.clip) for row in own]
            pairs = [(value, clip) for value, clip in pairs if math.isfinite(value)]
            entry[axis] = mean_with_interval(
                [value for value, _ in pairs], [clip for _, clip in pairs], args
            )
        entry.update(standing(scores, name, rivals, args))
        instruments[name] = entry
    heard = set(instruments)
    played = {row.instrument for rows in scores.values() for row in rows}
    return {
        "clips": len(good),
        "skipped": dict(Counter(row.reason for row in measured if row.reason)),
        "unvoiced": sum(math.isnan(row.harmonic_complexity) for row in good),
        "segment_seconds": args.segment_seconds,
        "segments": args.segments,
        "fmin": args.fmin,
        "fmax": args.fmax,
        "instruments": instruments,
        "scored_but_not_measured": sorted(played - heard),
        "correlations": correlations(instruments, rivals),
    }


def common_scores(experiments: Sequence[Experiment]) -> Dict[str, List[ScoreRow]]:
    """System -> rows of the sources that all systems were scored on, in one order.

    Raises:
        InputError: tables of different sources.
    """
    tables = {
        e.name: {(row.mix_id, row.source): row for row in e.rows} for e in experiments
    }
    keys = list(next(iter(tables.values()))) if tables else []
    for e in experiments:
        if tables[e.name].keys() != set(keys):
            raise InputError(
                f"{e.folder} lists other sources than {experiments[0].folder}; score "
                "both on one set of mixtures (stage 8)."
            )
    keys = [k for k in keys if all(t[k].status == OK for t in tables.values())]
    return {name: [table[k] for k in keys] for name, table in tables.items()}


def standing(
    scores: Dict[str, List[ScoreRow]],
    instrument: str,
    rivals: Sequence[str],
    args: AxesOptions,
) -> Dict[str, Any]:
    """Mean SDR of each system on an instrument, the best one, and its lead."""
    own = {
        name: [row for row in rows if row.instrument == instrument]
        for name, rows in scores.items()
    }
    number = len(next(iter(own.values()))) if own else 0
    entry: Dict[str, Any] = {"sources": number}
    if not number:
        return entry
    entry["sdr"] = {n: statistics.fmean(r.sdr for r in rows) for n, rows in own.items()}
    order = sorted(rivals, key=lambda name: -entry["sdr"][name])
    if not order:
        return entry
    entry["best"] = order[0]
    if len(order) > 1:
        gap = [
            one.sdr - two.sdr
            for one, two in zip(own[order[0]], own[order[1]], strict=True)
        ]
        mixtures = [row.mix_id for row in own[order[0]]]
        entry["second"] = order[1]
        entry["lead"] = mean_with_interval(gap, mixtures, args)
    return entry


def is_clear(entry: Dict[str, Any]) -> bool:
    """Whether the best system's lead excludes 0."""
    low = entry.get("lead", {}).get("interval", [None])[0]
    return low is not None and low > 0


def correlations(
    instruments: Dict[str, Any], rivals: Sequence[str]
) -> List[Dict[str, Any]]:
    """Spearman's rank correlation of each axis with the gap of each two systems."""
    from scipy.stats import spearmanr

    found = []
    for one, two in itertools.combinations(rivals, 2):
        for axis in AXES:
            rows = [e for e in instruments.values() if e.get("sdr")]
            rows = [e for e in rows if e[axis]["mean"] is not None]
            x = [e[axis]["mean"] for e in rows]
            y = [e["sdr"][two] - e["sdr"][one] for e in rows]
            rho = None
            if len(rows) > 2 and len(set(x)) > 1 and len(set(y)) > 1:
                rho = float(spearmanr(x, y).statistic)
            found.append(
                {"of": f"{two} - {one}", "with": axis, "rho": rho, "n": len(rows)}
            )
    return found


def markdown(
    args: AxesOptions,
    summary: Dict[str, Any],
    experiments: Sequence[Experiment],
) -> str:
    """Return the text of acoustic_axes.md."""
    names = [e.name for e in experiments]
    header = ["instrument", "clips", *AXES.values()]
    if names:
        header += ["sources", *names, "best", "lead, dB"]
    lines = [header]
    for instrument, entry in summary["instruments"].items():
        line = [instrument, str(entry["clips"])]
        line += [cell(entry[axis], 3) for axis in AXES]
        if names:
            sdr = entry.get("sdr", {})
            line.append(str(entry["sources"]))
            line += [f"{sdr[name]:.2f}" if name in sdr else "" for name in names]
            line += [entry.get("best", ""), cell(entry.get("lead"), 2)]
        lines.append(line)
    skipped = [f"{n} {reason}" for reason, n in summary["skipped"].items()]
    settings = [
        f"measured: {summary['clips']} clips of "
        f"{', '.join(f'`{d}`' for d in args.clips_dir)}; left out: "
        f"{', '.join(skipped) or 'none'}; without harmonic complexity, as no frame is "
        f"voiced: {summary['unvoiced']}",
        f"up to {args.segments} segments of {args.segment_seconds:g} s a clip, spread "
        f"evenly; pitch between {args.fmin:g} and {args.fmax:g} Hz",
    ]
    for e in experiments:
        folders = ", ".join(f"`{t.folder}`" for t in e.trainings or (e,))
        settings.append(f"{e.name}: {folders}")
    if summary["scored_but_not_measured"]:
        names_left = ", ".join(summary["scored_but_not_measured"])
        settings.append(f"scored, and not among the clips measured: {names_left}")
    return document(
        "# Acoustic axes",
        bold(args.corpus_note),
        DEFINITION,
        markdown_table(lines),
        fusion_section(summary) if names else "",
        bullet_list(settings),
        "![acoustic_axes.png](acoustic_axes.png)" if args.plots else "",
    )


def fusion_section(summary: Dict[str, Any]) -> str:
    """Say what the columns of scores are, and how they go with the axes."""
    text = (
        "Scores: mean SDR in dB over the sources that all systems were scored on. "
        "Lead: of the best system over the second, with its interval (mixtures are "
        "drawn); the best one is clear only where it excludes 0. What was made or "
        "ordered with the references does not compete. Rank correlation (Spearman), "
        "over the instruments, of an axis with the difference of two systems' SDR."
    )
    lines = [["SDR difference", "axis", "rank correlation", "instruments"]]
    for row in summary["correlations"]:
        rho = "" if row["rho"] is None else f"{row['rho']:.2f}"
        lines.append([row["of"], AXES[row["with"]], rho, str(row["n"])])
    if len(lines) == 1:
        return text
    return f"{text}\n\n{markdown_table(lines)}"


def cell(value: Optional[Dict[str, Any]], digits: int) -> str:
    """Format what mean_with_interval returned."""
    if value is None or value["mean"] is None:
        return ""
    return with_interval(value["mean"], value["interval"], digits)


def draw(summary: Dict[str, Any], experiments: Sequence[Experiment]):
    """Draw figure 1."""
    from espnet2_avsep.figures.plots import instrument_axes

    places, winners = {}, {}
    for name, entry in summary["instruments"].items():
        place = tuple(entry[axis]["mean"] for axis in AXES)
        if None in place:
            logging.warning("%s has no place in the picture: never voiced", name)
            continue
        places[name] = place
        if "best" in entry:
            winners[name] = entry["best"], is_clear(entry)
    systems = [e.name for e in experiments if e.group != REFERENCE]
    return instrument_axes(places, winners, systems)
