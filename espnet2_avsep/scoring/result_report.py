"""A page to look at and listen to what one or several systems made."""

import logging
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics import score_table
from espnet2_avsep.metrics.comparison import MIXTURE, compare
from espnet2_avsep.metrics.score_table import OK, ScoreRow
from espnet2_avsep.scoring.comparison_tables import (
    difference_lines,
    instrument_lines,
    main_tables,
)
from espnet2_avsep.scoring.experiments import (
    GROUPS,
    REFERENCE,
    SYSTEM,
    Experiment,
    check_comparable,
    read_experiment,
)
from espnet2_avsep.scoring.results import (
    ScoredSet,
    bootstrap_seed,
    corpus_notes,
    experiment,
    leak_line,
    mixture_hashes,
    scores_lines,
    set_lines,
    untrained,
    visual_line,
)


@dataclass(kw_only=True)
class ReportOptions(Log):
    """What to do, and how."""

    experiment: List[str] = option(
        ...,
        "folder that holds separated_<set> and scored_<set>: exp/avsep_<tag>, or a "
        "folder of an --inference_tag within it; NAME: on the page (default: the "
        "config's 'system'); repeat to compare",
        repeat=True,
        metavar="[NAME=]DIR",
    )
    sets: List[str] = option(..., "names of the scored sets")
    real_sets: List[str] = option([], "names of sets of real mixtures", nargs="*")
    data_dir: str = option("data", "holds <set>/ of stage 1")
    dump_dir: str = option("dump/raw", "holds <set>/ and org/<set>/")
    output_dir: Optional[str] = option(
        None, "where the page goes (default: report within the only experiment)"
    )
    max_mixtures: int = option(
        20, "mixtures of each set that can be listened to", least=0
    )
    inference_model: Optional[str] = option(
        None,
        "weights that separated, within the experiment (default: "
        "valid.si_sdr_i.best.pth, or valid.loss.best.pth)",
    )
    leaks: Optional[str] = option(
        None, "stage 4's table of leaks, leaks.tsv", metavar="FILE"
    )
    corpus_note: Optional[str] = option(
        None, "text at the top: what the corpus is (default: as in their RESULTS.md)"
    )
    title: Optional[str] = option(
        None, "of the page (default: made from the experiments' names)"
    )


# Set -> the experiments, as the comparison sees them.
Scored = Mapping[str, List[Experiment]]


def make_report(args: ReportOptions) -> None:
    """Write the page and what it shows; print its name."""
    names = [*args.sets, *args.real_sets]
    if len(set(names)) < len(names):
        raise InputError(f"{' '.join(names)}: expected sets, each once.")
    if args.output_dir is None and len(args.experiment) > 1:
        raise InputError("--output_dir: say where the page of several systems goes.")
    scored = {
        name: [read_experiment(text, name) for text in args.experiment]
        for name in args.sets
    }
    systems = scored[args.sets[0]]
    seen = {MIXTURE}
    for system in systems:
        if system.name in seen:
            raise InputError(
                f"--experiment {system.folder}: there is a {system.name!r} already; "
                "give another name: --experiment NAME=DIR."
            )
        seen.add(system.name)
    for experiments in scored.values():
        check_comparable(experiments)
    folder = Path(args.output_dir or systems[0].folder / "report")
    write_report(args, scored, folder)
    print(folder / "index.html")


def write_report(args: ReportOptions, experiments: Scored, folder: Path) -> None:
    """Write the sounds and pictures, then, last and in one step, index.html."""
    from espnet2_avsep.data.records.journal import remove_leftovers
    from espnet2_avsep.data.tables.scp import write_file
    from espnet2_avsep.errors import clear_disk_errors
    from espnet2_avsep.report.audible_mixture import evenly, read_real_mixtures
    from espnet2_avsep.report.listening import copy_files, write_media
    from espnet2_avsep.report.result_page import RealPart, Results, page
    from espnet2_avsep.report.training_log import read_curves

    systems = experiments[args.sets[0]]
    sets = {
        system.name: [read_scored_set(args, system, name) for name in args.sets]
        for system in systems
    }
    links = copy_files(result_files(args, systems), folder / "files")
    scored = [
        scored_part(args, own, [s[n] for s in sets.values()], links[name])
        for n, (name, own) in enumerate(experiments.items())
    ]
    real = []
    for name in args.real_sets:
        found = read_real_mixtures(name, set_folders(args, systems, name))
        listen = [found[key] for key in evenly(list(found), args.max_mixtures)]
        real.append(RealPart(name, len(found), listen))
    listen = [mixture for part in [*scored, *real] for mixture in part.listen]
    curves = {system.name: read_curves(system.home) for system in systems}
    note = args.corpus_note
    if note is None:
        note = corpus_notes(system.folder for system in systems)
    title = f"{systems[0].home.name}: results" if len(systems) == 1 else "Systems"
    results = Results(
        title=args.title or title,
        corpus_note=note.strip(),
        systems=[system.name for system in systems],
        scores=overall(args.sets, systems, sets),
        systems_facts={s.name: system_facts(s, sets[s.name], args) for s in systems},
        scored=scored,
        real=real,
        curves={name: own for name, own in curves.items() if own},
        prompts=prompt_note(systems),
        media=write_media(listen, folder / "media"),
        files=links[""],
    )
    with clear_disk_errors(folder):
        remove_leftovers(folder)
        write_file(folder / "index.html", page(results, folder))
    logging.info(
        "%s: %d systems, %d mixtures to listen to",
        folder / "index.html",
        len(systems),
        len(listen),
    )


def read_scored_set(args: ReportOptions, system: Experiment, name: str) -> ScoredSet:
    """Read one system's scores of a set, as RESULTS.md averages them."""
    folders = f"{system.folder / f'scored_{name}'}:{Path(args.dump_dir) / name}"
    return ScoredSet.read(f"{name}:{folders}", args.leaks)


def set_folders(args: ReportOptions, systems: Sequence[Experiment], name: str):
    """Return where the stages left a set, and the systems what they made of it."""
    from espnet2_avsep.data.tables.clip_folder import clip_set
    from espnet2_avsep.report.audible_mixture import Folders

    dump = Path(args.dump_dir)
    clips = clip_set(name, dump / name)
    return Folders(
        data=Path(args.data_dir) / clips,
        dump=dump / name,
        audio=dump / "org" / clips,
        separated=tuple(system.folder / f"separated_{name}" for system in systems),
    )


def result_files(
    args: ReportOptions, systems: Sequence[Experiment]
) -> Dict[str, Dict[str, Path]]:
    """Return the files that the page links: set, "" for all -> title -> file."""
    found: Dict[str, Dict[str, Path]] = {"": {}}
    for system in systems:
        about = f" of {system.name}" if len(systems) > 1 else ""
        found[""][f"RESULTS.md{about}"] = system.folder / "RESULTS.md"
        for name in args.sets:
            listed = {"mixtures.tsv": Path(args.dump_dir) / name / "mixtures.tsv"}
            own, folder = found.setdefault(name, listed), system.folder
            for file in ("scores.tsv", f"result_{name}.txt"):
                own[f"{file}{about}"] = folder / f"scored_{name}" / file
    return found


def groups_of(systems: Sequence[Experiment]) -> Dict[str, List[Experiment]]:
    """Return the systems in groups, what was made with the references on its own."""
    found: Dict[str, List[Experiment]] = {group: [] for group in GROUPS}
    for system in systems:
        found[system.group].append(system)
    titles = {SYSTEM: "systems", REFERENCE: "bounds and oracles, made or ordered with "}
    titles[REFERENCE] += "the references"
    return {titles.get(group, group): own for group, own in found.items() if own}


def overall(
    names: Sequence[str],
    systems: Sequence[Experiment],
    sets: Mapping[str, Sequence[ScoredSet]],
) -> Dict[str, List[List[str]]]:
    """Return the tables of all sets, one for each group of systems."""
    words = "Means in dB over the n scored sources of all mixtures, 95 % interval"
    groups, tables, several = groups_of(systems), {}, len(systems) > 1
    for title, own in groups.items():
        summaries = [
            (f"{name}, {s.name}" if several else name, sets[s.name][n].summary)
            for n, name in enumerate(names)
            for s in own
        ]
        caption = f"{words}: {title}" if len(groups) > 1 else words
        tables[caption] = scores_lines(summaries)
    return tables


def scored_part(
    args: ReportOptions,
    systems: Sequence[Experiment],
    sets: Sequence[ScoredSet],
    links: Mapping[str, str],
):
    """Gather what the page tells of one scored set.

    Args:
        args: The command line.
        systems: The systems, scored on this set.
        sets: The set's scores, of each system.
        links: Title -> file of the page's folder.
    """
    from espnet2_avsep.report.audible_mixture import (
        choose_mixtures,
        evenly,
        ranking,
        read_scored_mixtures,
    )
    from espnet2_avsep.report.result_page import ScoredPart

    name = sets[0].name
    rows = {system.name: system.rows for system in systems}
    mixtures = read_scored_mixtures(name, set_folders(args, systems, name))
    for system, table in rows.items():
        unknown = sorted({row.mix_id for row in table} - set(mixtures))
        if unknown:
            raise InputError(
                f"{system}: the scores of {name} hold {unknown[0]}, which the list of "
                "mixtures has not. Score again (stage 8)."
            )
    scores, ranked_by = rank(rows)
    chosen = choose_mixtures(scores, args.max_mixtures)
    unscored = [key for key in mixtures if key not in scores]
    chosen += evenly(unscored, args.max_mixtures - len(chosen))
    if len(systems) == 1:
        facts = set_lines(sets[0])
        facts["leaks"] = leak_line(sets[0])
        tables = single_tables(sets[0])
    else:
        facts, tables = compared(systems, name)
    return ScoredPart(
        name=name,
        facts=facts,
        tables=tables,
        rows=rows,
        intervals={
            title: intervals(rows, [s.name for s in own], sets)
            for title, own in groups_of(systems).items()
        },
        ranked={key: scores[key] for key in ranking(scores)},
        ranked_by=ranked_by,
        listen=[mixtures[key] for key in chosen],
        files=links,
    )


def single_tables(scored: ScoredSet) -> Dict[str, List[List[str]]]:
    """Return the tables that RESULTS.md has of a set."""
    summary = scored.summary
    tables = {
        f"{scored.name}: mixture, estimate, improvement": score_table.score_lines(
            summary
        ),
        f"{scored.name}: instruments": score_table.instrument_lines(summary),
    }
    if summary.skipped:
        skips = score_table.skip_lines(summary, "not scored, by reason")
        tables[f"{scored.name}: not scored"] = skips
    return tables


def compared(
    experiments: Sequence[Experiment], name: str
) -> Tuple[Dict[str, object], Dict[str, List[List[str]]]]:
    """Return facts and tables of several systems on one set, as avsep_compare's."""
    try:
        result = compare({e.name: e.rows for e in experiments})
    except ValueError as error:
        raise InputError(f"--sets {name}: {error}") from error
    head = experiments[0].head
    facts: Dict[str, object] = {
        "sources": f"{result.sources}, of which every system was scored on "
        f"{result.common}, of {result.mixtures} mixtures; the tables are of these",
        **mixture_hashes(head),
        "scored by": head.get("backend", "unknown"),
        "interval": "95 %, percentile bootstrap over mixtures, "
        f"{score_table.RESAMPLES} resamples, seed 0",
    }
    tables = {
        **{
            f"{name}: {'systems' if group == SYSTEM else group}": rows
            for group, (_, rows) in main_tables(experiments, result, None).items()
        },
        f"{name}: mean of (first - second) over the same sources; clear: the interval "
        "excludes 0": difference_lines(result),
        f"{name}: mean SDR of each instrument": instrument_lines(experiments, result),
    }
    return facts, tables


def rank(rows: Dict[str, List[ScoreRow]]) -> Tuple[Dict[str, float], str]:
    """Return what mixtures are ranked by, and its name.

    That is the mean SDRi over a mixture's scored sources; with several systems, by how
    much the first one's SDR is above the mean of the others'.
    """
    values: Dict[str, List[float]] = {}
    for own in zip(*rows.values(), strict=True):
        if any(row.status != OK for row in own):
            continue
        value = own[0].sdr_i
        if len(own) > 1:
            value = own[0].sdr - statistics.fmean(row.sdr for row in own[1:])
        values.setdefault(own[0].mix_id, []).append(value)
    scores = {key: statistics.fmean(found) for key, found in values.items()}
    if len(rows) == 1:
        return scores, "mean SDRi, dB"
    return scores, f"SDR of {next(iter(rows))} above the others, dB"


def intervals(
    rows: Dict[str, List[ScoreRow]], names: Sequence[str], sets: Sequence[ScoredSet]
):
    """Return each instrument's mean SDRi of some systems, over all's common sources."""
    from espnet2_avsep.figures.shapes import Interval

    common = [
        n
        for n, own in enumerate(zip(*rows.values(), strict=True))
        if all(row.status == OK for row in own)
    ]
    seed = bootstrap_seed(sets[0].head)
    found: Dict[str, Dict[str, Interval]] = {}
    for name in names:
        own = [rows[name][n] for n in common]
        values = score_table.instrument_intervals(own, "sdr_i", seed=seed)
        for instrument, interval in values.items():
            found.setdefault(instrument, {})[name] = Interval(*interval)
    return dict(sorted(found.items()))


def system_facts(
    system: Experiment, sets: Sequence[ScoredSet], args: ReportOptions
) -> Dict[str, object]:
    """Return what a system is, as RESULTS.md says it."""
    if system.config.get("trained") is False:
        facts = untrained(system.home, system.config, system.options)
    else:
        facts = experiment(system.home, system.config, args.inference_model)
        line = visual_line(sets[0].name, sets[0].dump, system.home)
        facts["visual encoder"] = line.partition(": ")[2]
        facts["teacher"] = system.config.get("teacher") or "none"
    if system.options:
        facts["separated with"] = f"`{system.options}`"
    return facts


def prompt_note(systems: Sequence[Experiment]) -> str:
    """Say what the pictures of prompts have to do with what was separated."""
    notes = ["Prompts: the pictures whose features stand in the list of mixtures."]
    for system in systems:
        if system.config.get("trained") is False:
            notes.append(f"{system.name} does not look at them.")
        elif "--shuffle_visual" in system.options:
            notes.append(
                f"**{system.name} was prompted by those of other clips** "
                f"(`{system.options}`)."
            )
    return " ".join(notes)
