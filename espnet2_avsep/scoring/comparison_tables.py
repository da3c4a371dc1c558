"""Tables, figures and pages that compare scored experiments."""

import csv
import io
import logging
import math
import statistics
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from espnet2_avsep.analysis.clip_analysis import split_name, write_figures
from espnet2_avsep.data.records.epochs import finished_epochs
from espnet2_avsep.data.tables.scp import write_file
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.comparison import MIXTURE, Comparison, compare
from espnet2_avsep.metrics.markdown import (
    bold,
    bullets,
    document,
    markdown_table,
    plain,
)
from espnet2_avsep.metrics.score_table import METRICS, TITLES, decibel
from espnet2_avsep.scoring import compare_counts
from espnet2_avsep.scoring.compare_options import CompareOptions
from espnet2_avsep.scoring.config_curve import CurvePoint, curve_lines, curve_points
from espnet2_avsep.scoring.experiments import (
    BOUND,
    GROUPS,
    ORACLE,
    PUBLISHED,
    REFERENCE,
    SWAPPED,
    SYSTEM,
    Experiment,
    check_comparable,
    merge_seeds,
    read_experiment,
)
from espnet2_avsep.scoring.results import is_random, mixture_hashes

MAIN_COLUMNS = (*METRICS, "sdr_i")
WITH_INTERVAL = ("sdr", "sdr_i")
# Of a system's run with the pictures of other sources; whether it is better than that.
LEARNED = (
    "SDRi, swapped pictures",
    "SDRi - swapped",
    "SDRi - swapped low",
    "SDRi - swapped high",
    "learned",
)
# With more systems, the page shows only the differences from the first one.
MANY_SYSTEMS = 6


def scored_on(name: str, args: CompareOptions) -> List[str]:
    """Return the --experiment options that were scored on a set.

    Of several sets, an experiment may lack some (RPCA separates two sources only).

    Raises:
        InputError: one was scored on none.
    """
    if len(args.set) == 1:
        return args.experiment
    wanted = []
    for text in args.experiment:
        _, folder = split_name(text)
        found = [n for n in args.set if (folder / f"scored_{n}").is_dir()]
        if not found:
            read_experiment(text, name)
        elif name not in found:
            logging.warning("%s was not scored on %s", text, name)
        else:
            wanted.append(text)
    if not wanted:
        raise InputError(f"--set {name}: no experiment was scored on it.")
    return wanted


def compare_set(args: CompareOptions, texts: Sequence[str]) -> Comparison:
    """Write the tables and pictures of one set, args.set; return what they say."""
    experiments = [read_experiment(text, args.set) for text in texts]
    check_comparable(experiments, args.corpus)
    experiments = merge_seeds(experiments)
    experiments.sort(key=lambda e: GROUPS.index(e.group))
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
    write_page(folder / f"{stem}.md", text)
    return result


def compare_numbers(args: CompareOptions, results: Mapping[str, Comparison]) -> None:
    """Write the table of several sets, by number of sources, and its picture."""
    folder, stem = Path(args.output_dir), "compare_by_sources"
    write_csv(folder / f"{stem}.csv", compare_counts.csv_lines(results))
    parts = [
        "# Systems by number of sources",
        bold(args.corpus_note),
        "SDRi in dB with its 95 % interval (percentile bootstrap over mixtures, "
        f"{args.resamples} resamples, seed {args.seed}); SDR of the mixtures. The "
        "numbers are those of compare_<set>.md: over the sources that all systems of a "
        "set were scored on. n/a: not scored on that set.",
        markdown_table(compare_counts.table_lines(results)),
        bullets({name: set_note(result) for name, result in results.items()}),
    ]
    if args.plots:
        from espnet2_avsep.figures.plots import score_curves

        curves = compare_counts.curves(results)
        figure = score_curves(curves, "sources in a mixture", "SDRi, dB")
        write_figures(folder, {f"{stem}.png": figure}, dpi=100)
        parts.append(f"![{stem}.png]({stem}.png)")
    write_page(folder / f"{stem}.md", document(*parts))


def set_note(result: Comparison) -> str:
    """Return how much of a set the table is of."""
    return (
        f"{result.mixed} sources, {result.common} of "
        f"{result.sources} sources of {result.mixtures} mixtures"
    )


def write_page(path: Path, text: str) -> None:
    """Write a page, and print it."""
    write_file(path, text)
    print(text)
    logging.info("wrote %s", path)


def main_lines(
    experiments: Sequence[Experiment], result: Comparison, corpus: Optional[str]
) -> List[List[str]]:
    """Return the main table: a line for the mixture, then one for each system."""
    header = ["system", "n"]
    for metric in MAIN_COLUMNS:
        header.append(TITLES[metric])
        if metric in WITH_INTERVAL:
            header += [f"{TITLES[metric]} low", f"{TITLES[metric]} high"]
    header += ["seeds", "SDRi of seeds, min", "SDRi of seeds, max"]
    header += ["group", *LEARNED]
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
        experiment = next((e for e in experiments if e.name == name), None)
        line += seed_cells(experiment, result)
        line.append(experiment.group if experiment else "")
        line += learned_cells(experiment, experiments, result)
        if corpus is not None:
            found = experiment.published(corpus) if experiment else {}
            line += [number(found.get(m, math.nan)) for m in PUBLISHED]
            source, protocol = found.get("source", ""), found.get("protocol", "")
            line.append(f"{source}: {protocol}" if found else "")
        lines.append(line)
    return lines


def seed_cells(experiment: Optional[Experiment], result: Comparison) -> List[str]:
    """Return the number of seeds, and the least and greatest SDRi of a single one."""
    if experiment is None or not experiment.seeds:
        return ["", "", ""]
    common = set(result.keys)
    means = [
        statistics.fmean(
            row.sdr_i for row in training.rows if (row.mix_id, row.source) in common
        )
        for training in experiment.trainings
    ]
    if not means:
        return ["1", "", ""]
    return [str(len(means)), number(min(means)), number(max(means))]


def learned_cells(
    experiment: Optional[Experiment],
    experiments: Sequence[Experiment],
    result: Comparison,
) -> List[str]:
    """Return what a system's run with swapped pictures says, the columns LEARNED.

    It has learned to follow the pictures if the intervals of its SDRi and of the paired
    difference from that run both lie above 0.
    """
    swapped = None
    if experiment is not None:
        runs = [e for e in experiments if e.is_swapped_run_of(experiment)]
        swapped = runs[0] if runs else None
    if swapped is None:
        return [""] * len(LEARNED)
    gap = next(
        d
        for d in result.differences
        if (d.first, d.second, d.metric) == (experiment.name, swapped.name, "sdr")
    )
    is_above = result.interval[experiment.name]["sdr_i"][0] > 0 and gap.interval[0] > 0
    mean = result.mean[swapped.name]["sdr_i"]
    cells = [number(x) for x in (mean, gap.mean, *gap.interval)]
    return [*cells, "yes" if is_above else "no"]


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

    What was made or ordered with the help of the references does not compete; runs with
    swapped pictures are left out. All that have the best score as it is shown are best.
    """
    shown = [e.name for e in experiments if e.group != SWAPPED]
    names = [MIXTURE, *shown]
    rivals = [e.name for e in experiments if e.group == SYSTEM]
    lines = [["instrument", "n", *names, "best"]]
    for instrument, (count, means) in result.instruments.items():
        best: List[str] = []
        if count and rivals:
            top = number(max(means[name] for name in rivals))
            best = [name for name in rivals if number(means[name]) == top]
        values = [number(means[name]) for name in names]
        lines.append([instrument, str(count), *values, ", ".join(best)])
    return lines


def number(value: float) -> str:
    """Two decimals; empty where there is no number."""
    return decibel(value) if math.isfinite(value) else ""


def write_csv(path: Path, lines: Sequence[Sequence[str]]) -> None:
    """Write a table as CSV."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(lines)
    write_file(path, content.getvalue())


def draw(folder: Path, stem: str, result: Comparison) -> List[str]:
    """Draw the pictures; return their names."""
    from espnet2_avsep.figures.plots import instrument_bars, score_bars

    figures = {
        f"{stem}_scores.png": score_bars(
            {n: result.mean[n]["sdr_i"] for n in result.systems},
            {n: result.interval[n]["sdr_i"] for n in result.systems},
            "SDRi, dB",
        ),
        f"{stem}_instruments.png": instrument_bars(
            {k: means for k, (count, means) in result.instruments.items() if count},
            result.systems,
            "SDR, dB",
        ),
    }
    write_figures(folder, figures, dpi=100)
    return list(figures)


def draw_curve(folder: Path, stem: str, points: Sequence[CurvePoint], key: str) -> str:
    """Draw the scores over a value; return the picture's name."""
    from espnet2_avsep.figures.plots import value_curves

    metrics = {TITLES[metric]: metric for metric in PUBLISHED}
    figure = value_curves(
        [point.value for point in points],
        {title: [p.mean[m] for p in points] for title, m in metrics.items()},
        {title: [p.interval[m] for p in points] for title, m in metrics.items()},
        key,
    )
    write_figures(folder, {f"{stem}_over.png": figure}, dpi=100)
    return f"{stem}_over.png"


def over_section(points: Sequence[CurvePoint], key: str) -> str:
    """Return the table of scores over a value, intervals in brackets."""
    lines = []
    for line in curve_lines(points, key):
        cells = line[:2]
        for start in range(2, len(line), 3):
            cells.append(bracketed(line[start : start + 3], header=not lines))
        lines.append(cells)
    return f"## Over {plain(key)}\n\n{markdown_table(lines)}\n"


def markdown(
    args: CompareOptions,
    experiments: Sequence[Experiment],
    result: Comparison,
    pictures: Sequence[str],
) -> str:
    """Return the text of compare_<set>.md."""
    first = experiments[0]
    seeds = ""
    if any(e.trainings for e in experiments):
        seeds = (
            " Where there are several seeds (trainings of one system), scores are "
            "means over them, source by source, before anything else is computed: "
            "intervals tell the scatter of mixtures, the brackets of the seeds' column "
            "the least and greatest SDRi of a single training."
        )
    return document(
        f"# Systems on {plain(args.set)}",
        bold(args.corpus_note),
        f"Means in dB over the {result.common} sources of {result.mixtures} mixtures "
        f"that every system was scored on, of {result.sources} listed; n: how many a "
        "system was scored on itself. Intervals: 95 %, percentile bootstrap over "
        f"mixtures, {args.resamples} resamples, seed {args.seed}.{seeds}",
        bullets(
            {
                **mixture_hashes(first.head),
                "scored by": first.head.get("backend", "unknown"),
            }
        ),
        *(
            part
            for note, rows in main_tables(experiments, result, args.corpus).values()
            for part in (note, markdown_table(rows))
        ),
        published_section(experiments),
        differences_section(args, result),
        "## Instruments\n\nMean SDR in dB; n: sources; what was made or ordered "
        "with the references does not compete for the best.\n\n"
        + markdown_table(instrument_lines(experiments, result)),
        "## Experiments\n\n" + "\n".join(map(experiment_line, experiments)),
        "\n".join(f"![{name}]({name})" for name in pictures),
    )


def main_tables(
    experiments: Sequence[Experiment], result: Comparison, corpus: Optional[str]
) -> Dict[str, Tuple[str, List[List[str]]]]:
    """Return the main table in groups: group -> (note, rows), intervals in brackets.

    Protocols are left out. Where each system was trained once, there is no column of
    seeds; without runs with swapped pictures, none of what they say.
    """
    header, *lines = main_lines(experiments, result, corpus)
    with_seeds = any(e.trainings for e in experiments)
    with_swapped = any(line[header.index("learned")] for line in lines)
    notes = {
        SYSTEM: "Learned: the intervals of SDRi and of the paired difference from the "
        "run with the pictures of other sources (swapped) both lie above 0."
        if with_swapped
        else "",
        SWAPPED: "The same trainings, separated with the pictures of other sources:",
        REFERENCE: "Bounds and oracles, made or ordered with the help of the "
        "references; they are not systems:",
    }
    parts = {}
    for group in GROUPS:
        # The mixture, which has no group, stands above the systems.
        own = [x for x in lines if (x[header.index("group")] or SYSTEM) == group]
        rows = [
            page_cells(line, header, with_seeds, with_swapped and group == SYSTEM)
            for line in [header, *own]
        ]
        if len(rows) > 1:
            parts[group] = (notes[group], rows)
    return parts


def page_cells(
    line: Sequence[str], header: Sequence[str], with_seeds: bool, with_swapped: bool
) -> List[str]:
    """Return a line of main_lines, or its header, as the page shows it."""
    names = ["system", "n", *(TITLES[metric] for metric in MAIN_COLUMNS)]
    names += ["seeds"] if with_seeds else []
    names += [LEARNED[0], LEARNED[1], LEARNED[-1]] if with_swapped else []
    names += [name for name in header if name.startswith("published ")]
    bounds = {TITLES[metric] for metric in WITH_INTERVAL} | {"seeds", LEARNED[1]}
    cells = []
    for name in names:
        at = header.index(name)
        width = 3 if name in bounds else 1
        cells.append(bracketed(line[at : at + width], header=line is header))
    return cells


def bracketed(cells: Sequence[str], header: bool) -> str:
    """Return a value and its interval, where there is one, as one cell."""
    if header or len(cells) == 1 or not cells[1]:
        return cells[0]
    return f"{cells[0]} [{cells[1]}, {cells[2]}]"


def differences_section(args: CompareOptions, result: Comparison) -> str:
    """Return the paired differences; of many systems those from the first one."""
    if not result.differences:
        return ""
    lines, which = difference_lines(result), ""
    if len(result.systems) > MANY_SYSTEMS:
        first = result.systems[0]
        lines = lines[:1] + [line for line in lines[1:] if line[0] == first]
        which = f" Those from {first}; all are in compare_{args.set}_differences.csv."
    return (
        "## Differences\n\nMean of (first - second) over the same sources, with its "
        "interval; clear: the interval excludes 0 (as for a single comparison: nothing "
        f"corrects for their number).{which}\n\n" + markdown_table(lines)
    )


def published_section(experiments: Sequence[Experiment]) -> str:
    """List what is published of the systems, with protocols."""
    lines = [["system", "corpus", "SDR", "SIR", "SAR", "from", "protocol"]]
    for e in experiments:
        for row in (e.group != SWAPPED and e.config.get("published")) or []:
            scores = [number(row.get(m, math.nan)) for m in PUBLISHED]
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
    """Return what a name means."""
    config = e.config.get("config") or "no config.yaml"
    note = {
        "": "",
        BOUND: "; made from the true sources: an upper bound, not a system",
        ORACLE: "; outputs assigned to sources by the references (oracle)",
    }.get(e.kind, f"; outputs assigned: {e.kind}")
    if e.options:
        note += f"; separated with `{e.options}`"
    folders = ", ".join(f"`{t.folder}`" for t in e.trainings or (e,))
    return f"* {e.name}: {folders}, {config}{training_note(e)}{note}"


def training_note(e: Experiment) -> str:
    """Return seeds, number of training steps, and what of it began at random."""
    config, parts = e.config, []
    if e.seeds:
        parts.append(f"seed{'s' * (len(e.seeds) > 1)} {', '.join(map(str, e.seeds))}")
    if config.get("max_train_seconds"):
        seconds = f"{config['max_train_seconds']:g} s of CPU time"
        parts.append(f"{seconds}, batches of {config.get('batch_size')} mixtures")
    elif config.get("max_epoch") and config.get("num_iters_per_epoch"):
        # Early stopping ends a training before max_epoch.
        epochs = [finished_epochs(t.home) for t in e.trainings or (e,)]
        batches = config.get("accum_grad") or 1  # of a step
        of_an_epoch = config["num_iters_per_epoch"] // batches
        steps = sorted({(n or config["max_epoch"]) * of_an_epoch for n in epochs})
        number = " to ".join(map(str, dict.fromkeys([steps[0], steps[-1]])))
        several = f"{batches} x " if batches > 1 else ""
        parts.append(f"{number} steps of {several}{config.get('batch_size')} mixtures")
    random = {
        "encoder of pictures": e.visual,
        "frame network, at the start,": config.get("visual_adapter_conf"),
        "teacher": config.get("teacher_conf"),
    }
    parts += [f"{what} random" for what, conf in random.items() if is_random(conf)]
    return "".join(f", {part}" for part in parts)
