"""What the commands share that look at embeddings of single clips."""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    import torch

    from espnet2_avsep.cli.analysis_options import ClipAnalysis
    from espnet2_avsep.teacher.clap_teacher import ClapTeacher

CLAP = "CLAP"


def split_name(text: str) -> Tuple[str, Path]:
    """Return name, or "", and folder of an option [NAME=]DIR.

    An existing folder is one without a name, although it holds a "=".
    """
    name, equals, path = text.partition("=")
    if not equals or Path(text).is_dir():
        return "", Path(text)
    return name, Path(path)


def named_folders(given: Sequence[str]) -> Dict[str, Path]:
    """Name -> folder, of the options [NAME=]DIR.

    Without a name, the 'system' of the folder's config.yaml, or the folder's name.

    Raises:
        InputError: no such folder, or two of one name.
    """
    folders: Dict[str, Path] = {}
    for text in given:
        name, folder = split_name(text)
        if not folder.is_dir():
            raise InputError(f"--experiment {text}: there is no folder {folder}.")
        name = name or read_yaml(folder / "config.yaml").get("system")
        name = name or folder.resolve().name
        if name in folders or name == CLAP:
            raise InputError(
                f"--experiment {text}: the name {name!r} is taken; give another one: "
                "--experiment NAME=DIR."
            )
        folders[name] = folder
    return folders


def read_experiments(given: Sequence[str]) -> Dict[str, Path]:
    """Name -> folder of the training, of the options [NAME=]DIR.

    Raises:
        InputError: no such training, or two of one name.
    """
    experiments = named_folders(given)
    for folder in experiments.values():
        config = folder / "config.yaml"
        if not config.is_file():
            raise InputError(
                f"--experiment {folder}: there is no {config}. Give the folder that "
                "training wrote (stage 6)."
            )
        if read_yaml(config).get("trained") is False:
            raise InputError(
                f"--experiment {folder}: is a system without training; it has no "
                "embeddings."
            )
    return experiments


def segment_of(
    experiments: Dict[str, Path], segment_samples: Optional[int]
) -> Tuple[int, int]:
    """Return sampling rate (Hz) and length of the segments, the same for all.

    Raises:
        InputError: the trainings' rates differ.
    """
    from espnet2_avsep.inference.separate import load_config

    rates, lengths = {}, []
    for name, folder in experiments.items():
        config = load_config(folder / "config.yaml")
        rates[name] = config.sample_rate
        lengths.append((config.dataset_conf or {}).get("segment_samples", 65280))
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name}: {rate} Hz" for name, rate in rates.items())
        raise InputError(
            f"the trainings have different sampling rates ({listed}); look at each "
            "rate in a run of its own, with clips of that rate."
        )
    rate = next(iter(rates.values()))
    return rate, segment_samples or lengths[0]


def load_clap(args: "ClipAnalysis", device: "torch.device") -> "ClapTeacher":
    """Load the teacher that --clap and --clap_conf name.

    Raises:
        InputError: it cannot be had, or --clap_conf is not a mapping of its arguments.
    """
    from espnet2_avsep.data.tables.yaml_file import parse_yaml
    from espnet2_avsep.tasks.parts import construct
    from espnet2_avsep.teacher import clap_teacher

    conf = parse_yaml(args.clap_conf, "--clap_conf")
    if not isinstance(conf, dict):
        raise InputError(
            f"--clap_conf {args.clap_conf!r}: expected a mapping, e.g. "
            "'{model: HTSAT-base}'."
        )
    try:
        teacher = construct(
            clap_teacher.ClapTeacher, conf, "--clap_conf", checkpoint=args.clap
        )
    except InputError as error:
        raise InputError(
            f"--clap {args.clap}: {error} (--clap none leaves CLAP out.)"
        ) from error
    return teacher.to(device)


def with_interval(
    value: float, interval: Sequence[Optional[float]], digits: int = 2
) -> str:
    """Format a number with its interval in brackets, if it has one."""
    text = f"{value:.{digits}f}"
    if None not in interval:
        low, high = interval
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text


def write_texts(folder: Path, texts: Dict[str, str]) -> None:
    """Write text files: name -> content."""
    from espnet2_avsep.data.tables.scp import write_file

    for name, content in texts.items():
        write_file(folder / name, content)
        logging.info("wrote %s", folder / name)


def write_figures(folder: Path, figures: Dict[str, object], dpi: int = 150) -> None:
    """Write figures as PNG: name -> figure."""
    from espnet2_avsep.figures.plots import write_png

    for name, figure in figures.items():
        write_png(figure, folder / name, dpi)
        logging.info("wrote %s", folder / name)


def finite_bounds(bounds: Sequence[float]) -> List[Optional[float]]:
    """Return the bounds of an interval for JSON, which knows no NaN."""
    return [float(x) if math.isfinite(x) else None for x in bounds]


def segment_words(summary: Mapping[str, Any]) -> str:
    """Say which segments of a clip its embedding is of."""
    count = summary["segments"]
    crop = f"mean over {count} segments" if count > 1 else "centre crop"
    return (
        f"{crop}; a segment: {summary['segment_samples']} samples at "
        f"{summary['sample_rate']} Hz"
    )


def bullet_list(lines: Sequence[str]) -> str:
    """Markdown list."""
    return "\n".join(f"* {line}" for line in lines)


def about_run(
    args: "ClipAnalysis", description: str, experiments: Dict[str, Path]
) -> List[str]:
    """Say what CLAP is, and what the names of the experiments mean."""
    untrained = ": it has learnt nothing, and tells nothing about CLAP"
    lines = [f"CLAP: {description or 'left out'}" + untrained * (args.clap == "random")]
    for name, folder in experiments.items():
        config = read_yaml(folder / "config.yaml")
        seed = f", seed {config['seed']}" if "seed" in config else ""
        lines.append(f"{name}: `{folder}`, {config.get('config')}{seed}")
    return lines
