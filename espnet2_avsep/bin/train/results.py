#!/usr/bin/env python3
"""Write RESULTS.md of an experiment: what was done, on what, with which scores."""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet2_avsep.cli.command import command, setup_logging, str2bool
from espnet2_avsep.data.records.made_from import (
    make_record,
    record_path,
    write_record,
)
from espnet2_avsep.data.records.output_folder import protect
from espnet2_avsep.data.tables.scp import atomic_write
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import bullets, plain
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


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Write RESULTS.md into the folder of an experiment: environment, "
        "configuration, encoder and teacher, scores of every set with what was skipped "
        "and left out, and the command that makes them again.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--avsep_exp", required=True, help="folder of the experiment, exp/avsep_<tag>"
    )
    parser.add_argument(
        "--set",
        action="append",
        required=True,
        metavar="NAME:SCOREDIR:DUMPDIR",
        help="a scored set, the folder avsep_scoring wrote and dump/raw/<set>; repeat",
    )
    parser.add_argument(
        "--training_set",
        action="append",
        default=[],
        metavar="NAME:DUMPDIR",
        help="a set that is not scored, for the clips that were left out of it; repeat",
    )
    parser.add_argument(
        "--real_set",
        action="append",
        default=[],
        metavar="NAME:SEPDIR:DUMPDIR",
        help="separated real mixtures, which have no references and are not scored; "
        "repeat",
    )
    parser.add_argument(
        "--inference_model",
        help="weights that separated, within --avsep_exp (None: "
        "valid.si_sdr_i.best.pth, or valid.loss.best.pth)",
    )
    parser.add_argument(
        "--corpus_note",
        default="",
        help="text at the top: what the corpus is, and what it is not",
    )
    parser.add_argument(
        "--inference_args",
        default="",
        help="options that the separation was run with, to be stated",
    )
    parser.add_argument(
        "--leaks", metavar="FILE", help="stage 4's table of leaks, leaks.tsv"
    )
    parser.add_argument(
        "--leak_free",
        type=str2bool,
        default=False,
        help="true: also average the mixtures that hold no leaking clip; wants --leaks",
    )
    parser.add_argument("--output", help="default: RESULTS.md within --avsep_exp")
    parser.add_argument("--log_level", default="INFO", help="verbosity of the log")
    return parser


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
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
        f"**{args.corpus_note.strip()}**" if args.corpus_note.strip() else "",
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
    with atomic_write(output) as f:
        f.write("\n\n".join(section for section in sections if section) + "\n")
    files = {f"scores of {s.name}": record_path(s.scores) for s in sets}
    files = {name: path for name, path in files.items() if path.is_file()}
    if config.get("trained") is not False and model.is_file():
        files["model"] = model
    write_record(output, make_record(8, {}, files, {}))
    print(output)


if __name__ == "__main__":
    sys.exit(main())
