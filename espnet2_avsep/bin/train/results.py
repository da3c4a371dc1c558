"""Write RESULTS.md of an experiment (stage 8).

Environment, configuration, encoder and teacher, scores of every set with what was
skipped and left out, and the command that makes them again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from espnet2_avsep.cli.options import Log, option, with_options
from espnet2_avsep.data.records.made_from import (
    make_record,
    record_path,
    write_record,
)
from espnet2_avsep.data.records.output_folder import protect
from espnet2_avsep.data.tables.scp import write_file
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import bold, bullets, document, plain
from espnet2_avsep.scoring.results import (
    ScoredSet,
    check_model,
    clips_section,
    commands_section,
    encoder_sections,
    environment,
    experiment,
    headline,
    lists_section,
    parse_set,
    real_section,
    scores_section,
    set_section,
    untrained,
    weights_of,
)


@dataclass(kw_only=True)
class Options(Log):
    """The options of the command."""

    avsep_exp: str = option(..., "folder of the experiment, exp/avsep_<tag>")
    set: List[str] = option(
        ...,
        "a scored set, the folder avsep_scoring wrote and dump/raw/<set>; repeat",
        repeat=True,
        metavar="NAME:SCOREDIR:DUMPDIR",
    )
    training_set: List[str] = option(
        [],
        "a set that is not scored, for the clips that were left out of it; repeat",
        repeat=True,
        metavar="NAME:DUMPDIR",
    )
    real_set: List[str] = option(
        [],
        "separated real mixtures, which have no references and are not scored; repeat",
        repeat=True,
        metavar="NAME:SEPDIR:DUMPDIR",
    )
    inference_model: Optional[str] = option(
        None,
        "weights that separated, within --avsep_exp (default: "
        "valid.si_sdr_i.best.pth, or valid.loss.best.pth)",
    )
    corpus_note: str = option(
        "", "text at the top: what the corpus is, and what it is not"
    )
    inference_args: str = option(
        "", "options that the separation was run with, to be stated"
    )
    leaks: Optional[str] = option(
        None, "stage 4's table of leaks, leaks.tsv", metavar="FILE"
    )
    leak_free: bool = option(
        False,
        "true: also average the mixtures that hold no leaking clip; wants --leaks",
    )
    output: Optional[str] = option(None, "default: RESULTS.md within --avsep_exp")


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    exp = Path(args.avsep_exp)
    if not exp.is_dir():
        raise InputError(
            f"--avsep_exp {exp}: no such folder; train first (stage 6) or correct it."
        )
    if args.leak_free and not args.leaks:
        raise InputError("--leak_free true: wants --leaks, the table of stage 4.")
    sets = [ScoredSet.read(text, args.leaks, args.leak_free) for text in args.set]
    model = weights_of(exp, args.inference_model)
    for s in sets:
        check_model(s, model)
    training_sets = [parse_set(text, ("NAME", "DUMPDIR")) for text in args.training_set]
    real_sets = [parse_set(s, ("NAME", "SEPDIR", "DUMPDIR")) for s in args.real_set]
    all_sets = [(s.name, s.dump) for s in sets] + training_sets
    all_sets += [(name, dump) for name, _, dump in real_sets]
    config = read_yaml(exp / "config.yaml")
    if config.get("trained") is False:
        lines = untrained(exp, config, args.inference_args)
    else:
        lines = experiment(exp, config, args.inference_model)
    if args.inference_args.strip():
        lines["separated with"] = f"`{args.inference_args.strip()}`"
    sections = [
        f"# RESULTS of {plain(exp.resolve().name)}",
        bold(args.corpus_note),
        headline(sets),
        scores_section(sets),
        "## Environment\n\n" + bullets(environment()),
        "## Experiment\n\n" + bullets(lines),
        *encoder_sections(config, sets, exp),
        *(set_section(s) for s in sets),
        *(real_section(*real) for real in real_sets),
        lists_section(all_sets),
        "## Clips left out before scoring\n\n" + clips_section(all_sets),
        commands_section(exp),
    ]
    output = Path(args.output or exp / "RESULTS.md")
    protect([output], [exp / "config.yaml", *([args.leaks] if args.leaks else [])])
    write_file(output, document(*sections))
    files = {f"scores of {s.name}": record_path(s.scores) for s in sets}
    files = {name: path for name, path in files.items() if path.is_file()}
    if config.get("trained") is not False and model.is_file():
        files["model"] = model
    write_record(output, make_record(8, {}, files, {}))
    print(output)
