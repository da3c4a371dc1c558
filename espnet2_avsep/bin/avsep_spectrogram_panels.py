#!/usr/bin/env python3
"""Spectrograms of mixtures, references and estimates side by side (figure 3)."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.bin.cli import command, setup_logging
from espnet2_avsep.bin.clip_analysis import named_folders, write_figures
from espnet2_avsep.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from espnet2_avsep.analysis.figures import Panel
    from espnet2_avsep.analysis.log_spectrogram import LogSpectrogram

# Hz
TICKS = (100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Draw mixtures of a set: a row for each source with the picture "
        "that it was prompted with, the mixture, each system's estimate and the "
        "reference, as log-frequency magnitudes on one scale. Writes "
        "panels_<mixture>.png.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data_dir",
        required=True,
        help="the set's mixtures, dump/raw/<set>: wav.scp, spk{n}.scp, mixtures.tsv",
    )
    add(
        "--experiment",
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="folder that holds separated_<set>: exp/avsep_<tag>, or a folder of an "
        "--inference_tag within it; NAME: in the picture (default: the config's "
        "'system'); repeat",
    )
    add("--set", default="test", help="which separated_<set>")
    add("--output_dir", required=True, help="where the pictures go")
    add(
        "--video_scp",
        help="the set's videos, data/<set>/video.scp, for the pictures of the prompts "
        "(default: only where the features are packed frames)",
    )
    add("--mix_id", action="append", help="a mixture to draw; repeat (default: --num)")
    add("--num", type=int, default=3, help="how many to draw, the first of the list")
    add("--n_fft", type=int, default=1024, help="samples of a frame")
    add("--hop_length", type=int, default=256, help="samples between frames")
    add("--num_log_bins", type=int, default=256, help="rows of a spectrogram")
    add("--dynamic_range", type=float, default=60.0, help="in dB")
    add("--log_level", default="INFO", help="verbosity of the log")
    return parser


class Tables(NamedTuple):
    """What is drawn.

    Attributes:
        mixture: Mixture -> wav.
        reference: For each source, mixture -> wav.
        estimate: System -> for each source, mixture -> wav.
        sdr: System -> (mixture, source) -> SDR in dB, where it was scored.
        sources: Mixture -> (clip, instrument) of each source.
        rows: Mixture -> number of the visual row of each source.
        visual: For each source, mixture -> visual matrix; empty where there is none.
        video: Clip -> video.
        fps: Pictures a second, and of these every k-th, as stage 2 took them; None:
            not known.
    """

    mixture: Dict[str, str]
    reference: List[Dict[str, str]]
    estimate: Dict[str, List[Dict[str, str]]]
    sdr: Dict[str, Dict[Tuple[str, int], float]]
    sources: Dict[str, List[Tuple[str, str]]]
    rows: Dict[str, List[int]]
    visual: List[Dict[str, str]]
    video: Dict[str, str]
    fps: Optional[Tuple[float, int]]


@command
def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    setup_logging(args.log_level)
    for name, least in [
        ("num", 1),
        ("n_fft", 4),
        ("hop_length", 1),
        ("num_log_bins", 2),
        ("dynamic_range", 1),
    ]:
        if not getattr(args, name) >= least:
            raise InputError(
                f"--{name} {getattr(args, name)}: expected at least {least}."
            )
    tables = read_tables(args)
    keys = choose(args, tables)
    for key in keys:
        figure = draw(args, tables, key)
        write_figures(Path(args.output_dir), {f"panels_{key}.png": figure})


def read_tables(args: argparse.Namespace) -> Tables:
    """Read the tables of the set and of the experiments.

    Raises:
        InputError: a table is missing, or an experiment separated another set.
    """
    from espnet2_avsep.bin.avsep_results import read_yaml
    from espnet2_avsep.data.mixture_table import read_sources
    from espnet2_avsep.data.scp import read_scp

    data = Path(args.data_dir)
    mixture = read_scp(data / "wav.scp")
    sources = read_sources(data / "mixtures.tsv")
    missing = sorted(set(mixture) - set(sources))
    if missing:
        raise InputError(
            f"{data / 'mixtures.tsv'}: does not list {missing[0]}, which is in "
            f"{data / 'wav.scp'}. Run stage 4 again."
        )
    number = len(next(iter(sources.values())))
    reference = [read_scp(data / f"spk{n}.scp") for n in range(1, number + 1)]
    estimate, sdr = {}, {}
    for name, folder in named_folders(args.experiment).items():
        separated = folder / f"separated_{args.set}"
        estimate[name] = [
            read_scp(separated / f"spk{n}.scp") for n in range(1, number + 1)
        ]
        if not set(mixture) & set(estimate[name][0]):
            raise InputError(
                f"{separated}: holds none of the mixtures of {data}; give the --set "
                "that this folder belongs to."
            )
        sdr[name] = read_sdr(folder / f"scored_{args.set}" / "scores.tsv")
    files = [data / f"visual_spk{n}.scp" for n in range(1, number + 1)]
    there = all(file.is_file() for file in files)
    info = read_yaml(data / "visual_info.yaml")
    known = "fps" in info and "every" in info
    return Tables(
        mixture,
        reference,
        estimate,
        sdr,
        sources,
        read_rows_of(data / "mixtures.tsv", number),
        [read_scp(file) for file in files] if there else [],
        read_scp(args.video_scp) if args.video_scp else {},
        (float(info["fps"]), int(info["every"])) if known else None,
    )


def read_sdr(path: Path) -> Dict[Tuple[str, int], float]:
    """SDR of each (mixture, source); nothing where it was not scored."""
    from espnet2_avsep.bin.score_files import read_scores
    from espnet2_avsep.metrics.score_table import OK

    if not path.is_file():
        return {}
    rows = [row for row in read_scores(path) if row.status == OK]
    return {(row.mix_id, row.source): row.sdr for row in rows}


def read_rows_of(path: Path, number: int) -> Dict[str, List[int]]:
    """Mixture -> visual row of each source; nothing where the list has no such column.

    Raises:
        InputError: a row that is no number.
    """
    import csv

    with path.open(encoding="utf-8", newline="") as f:
        table = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    names = [f"frame{n}" for n in range(1, number + 1)]
    if not set(names) <= set(table[0]):
        return {}
    try:
        return {row["mix_id"]: [int(row[name]) for name in names] for row in table}
    except ValueError as error:
        raise InputError(f"{path}: {error}; run stage 4 again.") from error


def choose(args: argparse.Namespace, tables: Tables) -> List[str]:
    """Return the mixtures to draw.

    Raises:
        InputError: one that was named is not there, or not separated by all systems.
    """
    everywhere = [tables.mixture, *tables.reference]
    everywhere += [table for own in tables.estimate.values() for table in own]
    keys = [key for key in tables.mixture if all(key in t for t in everywhere)]
    if args.mix_id:
        for key in args.mix_id:
            if key not in keys:
                raise InputError(
                    f"--mix_id {key}: is not among the {len(keys)} mixtures of "
                    f"{args.data_dir} that all experiments separated."
                )
        return list(dict.fromkeys(args.mix_id))
    if not keys:
        raise InputError(
            f"{args.data_dir}: no mixture was separated by all experiments; run stage "
            "7 for each of them."
        )
    return keys[: args.num]


def draw(args: argparse.Namespace, tables: Tables, key: str) -> Any:
    """Draw a mixture."""
    from espnet2_avsep.analysis.figures import Panel, spectrogram_grid
    from espnet2_avsep.analysis.log_spectrogram import LogSpectrogram
    from espnet2_avsep.data.segment_reader import audio_info, read_segment

    samples, fs = audio_info(tables.mixture[key])
    spectrogram = LogSpectrogram(fs, args.n_fft, args.hop_length, args.num_log_bins)

    def panel(title: str, path: str) -> "Panel":
        found, rate = audio_info(path)
        if rate != fs:
            raise InputError(f"{path}: {rate} Hz, the mixture {key} has {fs} Hz.")
        return Panel(title, spectrogram(read_segment(path)))

    has_pictures = bool(tables.video) or _are_frames(tables, key)
    grid = []
    for n, (clip, instrument) in enumerate(tables.sources[key]):
        row = [picture_panel(tables, key, n, instrument)] if has_pictures else []
        row.append(panel("mixture", tables.mixture[key]))
        for name, own in tables.estimate.items():
            sdr = tables.sdr[name].get((key, n + 1))
            score = "" if sdr is None else f", SDR {sdr:.1f} dB"
            row.append(panel(f"{name}{score}", own[n][key]))
        title = "reference" if has_pictures else f"reference: {instrument}"
        row.append(panel(title, tables.reference[n][key]))
        grid.append(row)
        logging.debug("%s, source %d: %s", key, n + 1, clip)
    return spectrogram_grid(
        grid, key, samples / fs, tick_labels(spectrogram), args.dynamic_range
    )


def tick_labels(spectrogram: "LogSpectrogram") -> Dict[float, str]:
    """Row -> label of some frequencies below half the sampling rate."""
    inside = [hz for hz in TICKS if hz < spectrogram.fs / 2]
    return dict(zip(spectrogram.rows_of(inside), map(str, inside), strict=True))


def picture_panel(tables: Tables, key: str, n: int, instrument: str) -> "Panel":
    """Return the panel of the picture that source n (from 0) was prompted with."""
    from espnet2_avsep.analysis.figures import Panel
    from espnet2_avsep.analysis.prompt_picture import prompt_picture
    from espnet2_avsep.data.media import ClipError

    clip, _ = tables.sources[key][n]
    if _are_frames(tables, key):
        return Panel(instrument, image=packed_picture(tables.visual[n][key]))
    if clip not in tables.video or not tables.rows or tables.fps is None:
        return Panel(instrument, missing="no picture")
    fps, every = tables.fps
    try:
        image = prompt_picture(tables.video[clip], tables.rows[key][n], fps, every)
    except ClipError as error:
        logging.warning("%s: no picture of %s: %s", key, clip, error)
        return Panel(instrument, missing=f"no picture: {error.reason}")
    return Panel(instrument, image=image)


def _are_frames(tables: Tables, key: str) -> bool:
    """Whether the visual inputs are pictures themselves."""
    from espnet2_avsep.data.segment_reader import matrix_shape

    return bool(tables.visual) and len(matrix_shape(tables.visual[0][key])) == 4


def packed_picture(ref: str) -> "np.ndarray":
    """Return the middle one of packed frames, (H, W, 3)."""
    from espnet2_avsep.data.segment_reader import matrix_shape, read_row

    return read_row(ref, matrix_shape(ref)[0] // 2).transpose(1, 2, 0)


if __name__ == "__main__":
    sys.exit(main())
