#!/usr/bin/env python3
"""Compare experiments that were scored on the same mixtures: one table, one picture."""

import argparse
import csv
import io
import logging
import math
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from espnet2_avsep.bin.avsep_results import assignment_of, read_head, read_yaml
from espnet2_avsep.bin.cli import command, setup_logging, str2bool
from espnet2_avsep.bin.config_curve import CurvePoint, curve_lines, curve_points
from espnet2_avsep.bin.score_files import read_scores
from espnet2_avsep.data.scp import atomic_write
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.comparison import MIXTURE, Comparison, compare
from espnet2_avsep.metrics.score_table import (
    METRICS,
    RESAMPLES,
    TITLES,
    ScoreRow,
    decibel,
    markdown_table,
)

PUBLISHED = ("sdr", "sir", "sar")
MAIN_COLUMNS = (*METRICS, "sdr_i")
WITH_INTERVAL = ("sdr", "sdr_i")


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Compare experiments that were scored on the same mixtures: our "
        "scores beside the published ones and their protocol, paired differences with "
        "bootstrap intervals, a table for each instrument, pictures. Experiments "
        "scored on different lists are refused. Writes compare_<set>.md and .csv, "
        "compare_<set>_differences.csv, compare_<set>_instruments.csv and .png files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--experiment",
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="folder that holds scored_<set>: exp/avsep_<tag>, or a folder of an "
        "--inference_tag within it; NAME: in the tables (default: the config's "
        "'system'); repeat",
    )
    parser.add_argument("--set", default="test", help="which scored_<set>")
    parser.add_argument("--output_dir", required=True, help="where the files go")
    parser.add_argument(
        "--corpus",
        help="whose published scores stand in the table, e.g. MUSIC (None: none; all "
        "are listed below it)",
    )
    parser.add_argument(
        "--corpus_note", default="", help="text at the top: what the corpus is"
    )
    parser.add_argument(
        "--over",
        metavar="KEY",
        help="also draw the scores over this value of the configs, e.g. "
        "criterions.alignment.weight (lambda): compare_<set>_over.csv and .png",
    )
    parser.add_argument(
        "--over_missing",
        metavar="VALUE",
        help="what stands for it where a config has no such value",
    )
    parser.add_argument(
        "--plots", type=str2bool, default=True, help="draw pictures (true or false)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--log_level", default="INFO", help="verbosity of the log")
    return parser


class Experiment(NamedTuple):
    """A scored experiment.

    Attributes:
        name: In the tables.
        folder: Holds scored_<set>.
        config: Of the training, or of the system without one.
        head: "key: value" lines at the head of result_<set>.txt.
        rows: Its scores.
        options: What the separation was run with, --inference_args.
    """

    name: str
    folder: Path
    config: Dict[str, Any]
    head: Dict[str, str]
    rows: List[ScoreRow]
    options: str = ""

    @property
    def sound(self) -> str:
        """What tells whether two experiments were scored on the same mixtures."""
        head = self.head
        return head.get("sound_sha256") or f"list {head.get('list_sha256')}"

    @property
    def kind(self) -> str:
        """What is to be known of a system's scores; empty of an ordinary one."""
        return system_kind(self.config, self.options)

    def published(self, corpus: Optional[str]) -> Dict[str, Any]:
        """Published scores on a corpus; empty where there are none."""
        for row in self.config.get("published") or []:
            if row.get("corpus") == corpus:
                return row
        return {}


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    if args.resamples < 1 or args.seed < 0:
        raise InputError(
            f"--resamples {args.resamples}, --seed {args.seed}: expected at least 1, 0."
        )
    experiments = [read_experiment(text, args.set) for text in args.experiment]
    check_comparable(experiments, args.corpus)
    try:
        result = compare(
            {e.name: e.rows for e in experiments}, args.resamples, args.seed
        )
    except ValueError as error:
        raise InputError(f"--set {args.set}: {error}") from error
    points: List[CurvePoint] = []
    if args.over:
        configs = {e.name: e.config for e in experiments}
        points = curve_points(configs, result, args.over, args.over_missing)
    folder = Path(args.output_dir)
    stem = f"compare_{args.set}"
    tables = {
        "": main_lines(experiments, result, args.corpus),
        "_differences": difference_lines(result),
        "_instruments": instrument_lines(experiments, result),
    }
    if points:
        tables["_over"] = curve_lines(points, args.over)
    for suffix, lines in tables.items():
        write_csv(folder / f"{stem}{suffix}.csv", lines)
    pictures = []
    if args.plots:
        pictures = draw(folder, stem, result)
        if points:
            pictures.append(draw_curve(folder, stem, points, args.over))
    text = markdown(args, experiments, result, pictures)
    if points:
        text += f"\n{over_section(points, args.over)}"
    with atomic_write(folder / f"{stem}.md") as f:
        f.write(text)
    print(text)
    logging.info("wrote %s", folder / f"{stem}.md")


BOUND, ORACLE = "upper bound", "oracle order"


def system_kind(config: Dict[str, Any], options: str) -> str:
    """Return "upper bound", "oracle order", "in order of output" or "".

    Args:
        config: Of the training, or of the system without one.
        options: What the separation was run with.
    """
    if config.get("trained") is not False:
        return ""
    assignment = assignment_of(config, options)
    kinds = {None: BOUND, "oracle": ORACLE, "order": "in order of output"}
    return kinds.get(assignment, str(assignment))


def read_experiment(text: str, set_name: str) -> Experiment:
    """Read an experiment from [NAME=]DIR.

    Raises:
        InputError: no such folder, or not scored.
    """
    name, equals, path = text.partition("=")
    if not equals:
        name, path = "", text
    folder = Path(path)
    scores = folder / f"scored_{set_name}"
    if not scores.is_dir():
        raise InputError(
            f"--experiment {text}: there is no {scores}. Give a folder that stage 8 "
            "scored, and with --set the name of the set."
        )
    own = folder.resolve()
    config, tag = read_yaml(own / "config.yaml"), ""
    if not config and (own.parent / "config.yaml").is_file():
        config, tag, own = read_yaml(own.parent / "config.yaml"), own.name, own.parent
    noted = folder / "inference_args"
    options = noted.read_text(encoding="utf-8").strip() if noted.is_file() else ""
    if not name:
        notes = [note for note in (tag, system_kind(config, options)) if note]
        name = config.get("system") or own.name
        name += f" ({', '.join(notes)})" if notes else ""
    rows = read_scores(scores / "scores.tsv")
    return Experiment(name, folder, config, read_head(scores), rows, options)


def check_comparable(
    experiments: Sequence[Experiment], corpus: Optional[str] = None
) -> None:
    """Refuse experiments that cannot stand in one table.

    Raises:
        InputError: two of one name, other mixtures, another scorer, or a corpus of
            which nothing is published.
    """
    first = experiments[0]
    seen: Dict[str, Path] = {MIXTURE: Path("the mixtures themselves")}
    for experiment in experiments:
        if experiment.name in seen:
            raise InputError(
                f"--experiment {experiment.folder} and {seen[experiment.name]} have "
                f"one name, {experiment.name!r}; give names: --experiment NAME=DIR."
            )
        seen[experiment.name] = experiment.folder
        if experiment.sound != first.sound:
            raise InputError(
                f"{experiment.folder} was scored on other mixtures than {first.folder} "
                f"(SHA-256 {experiment.sound} and {first.sound}). Only scores on the "
                "same mixtures can be compared: make the set once (stage 4, same "
                "--mix_seed and clips), then separate and score both with it."
            )
        backends = [e.head.get("backend") for e in (experiment, first)]
        if backends[0] != backends[1]:
            raise InputError(
                f"{experiment.folder} was scored by {backends[0]}, {first.folder} by "
                f"{backends[1]}; score both with one --scoring_backend (stage 8)."
            )
    known = sorted(
        {row["corpus"] for e in experiments for row in e.config.get("published") or []}
    )
    if corpus is not None and corpus not in known:
        raise InputError(
            f"--corpus {corpus}: none of the experiments has published scores on it; "
            f"there are scores on {', '.join(known) or 'no corpus'}."
        )


def main_lines(
    experiments: Sequence[Experiment], result: Comparison, corpus: Optional[str]
) -> List[List[str]]:
    """Return the main table: a line for the mixture, then one for each system."""
    header = ["system", "n"]
    for metric in MAIN_COLUMNS:
        header.append(TITLES[metric])
        if metric in WITH_INTERVAL:
            header += [f"{TITLES[metric]} low", f"{TITLES[metric]} high"]
    if corpus is not None:
        header += [f"published {TITLES[m]}" for m in PUBLISHED] + ["protocol"]
    lines = [header]
    for name in [MIXTURE, *result.systems]:
        line = [name, str(result.scored.get(name, result.common))]
        for metric in MAIN_COLUMNS:
            mean = result.mean[name].get(metric, math.nan)
            # The SAR of a sum of references is that of rounding errors.
            line.append("" if name == MIXTURE and metric == "sar" else number(mean))
            if metric in WITH_INTERVAL:
                low, high = result.interval[name].get(metric, (math.nan, math.nan))
                line += [number(low), number(high)]
        if corpus is not None:
            experiment = next((e for e in experiments if e.name == name), None)
            found = experiment.published(corpus) if experiment else {}
            line += [number(found.get(m, math.nan)) for m in PUBLISHED]
            source, protocol = found.get("source", ""), found.get("protocol", "")
            line.append(f"{source}: {protocol}" if found else "")
        lines.append(line)
    return lines


def difference_lines(result: Comparison) -> List[List[str]]:
    """Return the table of paired differences."""
    lines = [["first", "second", "score", "first - second", "low", "high", "clear"]]
    for d in result.differences:
        values = [number(x) for x in (d.mean, *d.interval)]
        clear = "yes" if d.is_clear else "no"
        lines.append([d.first, d.second, TITLES[d.metric], *values, clear])
    return lines


def instrument_lines(
    experiments: Sequence[Experiment], result: Comparison
) -> List[List[str]]:
    """Return the table of mean SDR for each instrument, and who is best.

    What was made or ordered with the help of the references does not compete.
    """
    names = [MIXTURE, *result.systems]
    rivals = [e.name for e in experiments if e.kind not in (BOUND, ORACLE)]
    lines = [["instrument", "n", *names, "best"]]
    for instrument, (count, means) in result.instruments.items():
        best = ""
        if count and rivals:
            best = max(rivals, key=lambda name: means[name])
        values = [number(means[name]) for name in names]
        lines.append([instrument, str(count), *values, best])
    return lines


def number(value: float) -> str:
    """Two decimals; empty where there is no number."""
    return decibel(value) if math.isfinite(value) else ""


def write_csv(path: Path, lines: Sequence[Sequence[str]]) -> None:
    """Write a table as CSV."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(lines)
    with atomic_write(path) as f:
        f.write(content.getvalue())


def draw(folder: Path, stem: str, result: Comparison) -> List[str]:
    """Draw the pictures; return their names."""
    from espnet2_avsep.plots import instrument_bars, score_bars

    names = {}
    figures = {
        "scores": score_bars(
            {n: result.mean[n]["sdr_i"] for n in result.systems},
            {n: result.interval[n]["sdr_i"] for n in result.systems},
            "SDRi, dB",
        ),
        "instruments": instrument_bars(
            {k: means for k, (count, means) in result.instruments.items() if count},
            result.systems,
            "SDR, dB",
        ),
    }
    for name, figure in figures.items():
        names[name] = f"{stem}_{name}.png"
        with atomic_write(folder / names[name], "wb") as f:
            # Without a date, so that the same scores give the same bytes.
            figure.savefig(f, format="png", metadata={"Software": None})
    return list(names.values())


def draw_curve(folder: Path, stem: str, points: Sequence[CurvePoint], key: str) -> str:
    """Draw the scores over a value; return the picture's name."""
    from espnet2_avsep.analysis.figures import value_curves

    metrics = {TITLES[metric]: metric for metric in PUBLISHED}
    figure = value_curves(
        [point.value for point in points],
        {title: [p.mean[m] for p in points] for title, m in metrics.items()},
        {title: [p.interval[m] for p in points] for title, m in metrics.items()},
        key,
    )
    name = f"{stem}_over.png"
    with atomic_write(folder / name, "wb") as f:
        figure.savefig(f, format="png", metadata={"Software": None})
    return name


def over_section(points: Sequence[CurvePoint], key: str) -> str:
    """Return the table of scores over a value, intervals in brackets."""
    lines = []
    for line in curve_lines(points, key):
        cells = line[:2]
        for start in range(2, len(line), 3):
            value, low, high = line[start : start + 3]
            cells.append(f"{value} [{low}, {high}]" if lines and low else value)
        lines.append(cells)
    return f"## Over {key}\n\n{markdown_table(lines)}\n"


def markdown(
    args: argparse.Namespace,
    experiments: Sequence[Experiment],
    result: Comparison,
    pictures: Sequence[str],
) -> str:
    """Return the text of compare_<set>.md."""
    first = experiments[0]
    parts = [
        f"# Systems on {args.set}",
        f"**{args.corpus_note.strip()}**" if args.corpus_note.strip() else "",
        f"Means in dB over the {result.common} sources of {result.mixtures} mixtures "
        f"that every system was scored on, of {result.sources} listed; n: how many a "
        "system was scored on itself. Intervals: 95 %, percentile bootstrap over "
        f"mixtures, {args.resamples} resamples, seed {args.seed}. Mixtures (SHA-256): "
        f"{first.sound}. Scored by: {first.head.get('backend', 'unknown')}.",
        markdown_table(main_table(experiments, result, args.corpus)),
        published_section(experiments),
        "## Differences\n\nMean of (first - second) over the same sources, with its "
        "interval; clear: the interval excludes 0 (as for a single comparison: nothing "
        "corrects for their number).\n\n" + markdown_table(difference_lines(result))
        if result.differences
        else "",
        "## Instruments\n\nMean SDR in dB; n: sources; what was made or ordered "
        "with the references does not compete for the best.\n\n"
        + markdown_table(instrument_lines(experiments, result)),
        "## Experiments\n\n" + "\n".join(map(experiment_line, experiments)),
        "\n".join(f"![{name}]({name})" for name in pictures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main_table(
    experiments: Sequence[Experiment], result: Comparison, corpus: Optional[str]
) -> List[List[str]]:
    """Return the main table with intervals in brackets, protocols left out."""
    lines = []
    for line in main_lines(experiments, result, corpus):
        cells, rest = line[:2], line[2:]
        for metric in MAIN_COLUMNS:
            value, rest = rest[0], rest[1:]
            if metric in WITH_INTERVAL:
                low, high, rest = rest[0], rest[1], rest[2:]
                if lines and low:
                    value += f" [{low}, {high}]"
            cells.append(value)
        lines.append(cells + rest[: len(PUBLISHED)])
    return lines


def published_section(experiments: Sequence[Experiment]) -> str:
    """List what is published of the systems, with protocols."""
    lines = [["system", "corpus", "SDR", "SIR", "SAR", "from", "protocol"]]
    for e in experiments:
        for row in e.config.get("published") or []:
            scores = [number(float(row.get(m, math.nan))) for m in PUBLISHED]
            origin = [str(row.get("source", "")), str(row.get("protocol", ""))]
            lines.append([e.name, str(row.get("corpus", "")), *scores, *origin])
    if len(lines) == 1:
        return ""
    return (
        "## Published scores\n\nOf others' runs, on the corpus and by the protocol "
        "named. They compare with the scores above only where those are of the same "
        "corpus and protocol.\n\n" + markdown_table(lines)
    )


def experiment_line(e: Experiment) -> str:
    """Return what a name stands for."""
    config = e.config.get("config") or "no config.yaml"
    seed = f", seed {e.config['seed']}" if "seed" in e.config else ""
    note = {
        "": "",
        BOUND: "; made from the true sources: an upper bound, not a system",
        ORACLE: "; outputs assigned to sources by the references (oracle)",
    }.get(e.kind, f"; outputs assigned: {e.kind}")
    if e.options:
        note += f"; separated with `{e.options}`"
    return f"* {e.name}: `{e.folder}`, {config}{seed}{note}"


if __name__ == "__main__":
    sys.exit(main())
