"""Spectrograms of mixtures, references and estimates side by side (HFRA, figure 3)."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from espnet2_avsep.analysis.clip_analysis import named_folders, write_figures
from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from espnet2_avsep.figures.plots import Panel
    from espnet2_avsep.report.audible_mixture import AudibleMixture, Source

# Hz
TICKS = (100, 200, 500, 1000, 2000, 5000, 10000, 20000)
Scores = Dict[Tuple[str, int], float]


@dataclass(kw_only=True)
class PanelOptions(Log):
    """What to do, and how."""

    experiment: List[str] = option(
        ...,
        "folder that holds separated_<set>: exp/avsep_<tag>, or a folder of an "
        "--inference_tag within it; NAME: in the picture (default: the config's "
        "'system'); repeat",
        repeat=True,
        metavar="[NAME=]DIR",
    )
    set: str = option("test", "which set")
    data_dir: str = option("data", "holds <set>/video.scp, if there is one")
    dump_dir: str = option("dump/raw", "holds <set> and org/<set>")
    output_dir: str = option(..., "where the pictures go")
    mix_id: Optional[List[str]] = option(
        None, "a mixture to draw; repeat (default: --num)", repeat=True
    )
    num: int = option(3, "how many to draw, the first of the list", least=1)
    pictures: bool = option(True, "draw the pictures of the prompts (true or false)")
    dynamic_range: float = option(60.0, "in dB", least=1)


def draw_panels(args: PanelOptions) -> None:
    """Draw the mixtures."""
    from espnet2_avsep.report.audible_mixture import Folders, read_scored_mixtures

    experiments = named_folders(args.experiment)
    dump = Path(args.dump_dir)
    mixtures = read_scored_mixtures(
        args.set,
        Folders(
            data=Path(args.data_dir) / args.set,
            dump=dump / args.set,
            audio=dump / "org" / args.set,
            separated=tuple(
                folder / f"separated_{args.set}" for folder in experiments.values()
            ),
        ),
    )
    scores = {
        name: read_sdr(folder / f"scored_{args.set}" / "scores.tsv")
        for name, folder in experiments.items()
    }
    for key in choose(args, list(mixtures)):
        figure = draw(args, mixtures[key], scores)
        write_figures(Path(args.output_dir), {f"panels_{key}.png": figure})


def read_sdr(path: Path) -> Scores:
    """SDR in dB of each (mixture, source); nothing where it was not scored."""
    from espnet2_avsep.metrics.score_table import OK
    from espnet2_avsep.scoring.score_files import read_scores

    if not path.is_file():
        return {}
    rows = [row for row in read_scores(path) if row.status == OK]
    return {(row.mix_id, row.source): row.sdr for row in rows}


def choose(args: PanelOptions, keys: List[str]) -> List[str]:
    """Return the mixtures to draw.

    Raises:
        InputError: one that was named is not there.
    """
    if not args.mix_id:
        return keys[: args.num]
    for key in args.mix_id:
        if key not in keys:
            raise InputError(
                f"--mix_id {key}: is not among the {len(keys)} mixtures of {args.set}, "
                f"{keys[0]}, ..., {keys[-1]}."
            )
    return list(dict.fromkeys(args.mix_id))


def draw(
    args: PanelOptions, mixture: "AudibleMixture", scores: Dict[str, Scores]
) -> "Figure":
    """Draw a mixture."""
    from espnet2_avsep.data.segment_reader import (
        audio_info,
        check_sample_rate,
        read_segment,
    )
    from espnet2_avsep.figures.plots import Panel, spectrogram_grid
    from espnet2_avsep.figures.spectrogram import ROWS, magnitudes, rows_of

    key = mixture.mix_id
    samples, fs = audio_info(mixture.sound)

    def panel(title: str, path: str) -> Panel:
        check_sample_rate(path, fs)
        return Panel(title, magnitudes(read_segment(path)))

    grid = []
    for number, source in enumerate(mixture.sources, 1):
        row = [picture_panel(key, source)] if args.pictures else []
        row.append(panel("mixture", mixture.sound))
        for name, path in zip(scores, source.estimates, strict=True):
            sdr = scores[name].get((key, number))
            score = "" if sdr is None else f", SDR {sdr:.1f} dB"
            row.append(panel(name + score, path))
        row.append(panel(f"reference: {source.title}", source.reference))
        grid.append(row)
    inside = [hertz for hertz in TICKS if hertz < fs / 2]
    ticks = dict(zip(rows_of(inside, fs, ROWS), map(str, inside), strict=True))
    return spectrogram_grid(grid, key, samples / fs, ticks, args.dynamic_range)


def picture_panel(key: str, source: "Source") -> "Panel":
    """Return the panel of the pictures that a source was prompted by."""
    from espnet2_avsep.figures.plots import Panel
    from espnet2_avsep.media.container import ClipError
    from espnet2_avsep.report.listening import prompt_pictures

    try:
        return Panel(source.title, image=prompt_pictures(source.prompt))
    except ClipError as error:
        logging.warning("%s: no picture of %s: %s", key, source.clip, error)
        return Panel(source.title, missing=f"no picture: {error.reason}")
