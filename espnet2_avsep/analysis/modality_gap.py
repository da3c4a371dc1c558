"""The modality gap of separators and of CLAP (HFRA, table 5)."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from espnet2_avsep.analysis.clip_analysis import (
    CLAP,
    about_run,
    bullet_list,
    finite_bounds,
    load_clap,
    read_experiments,
    segment_of,
    segment_words,
    with_interval,
    write_figures,
    write_texts,
)
from espnet2_avsep.cli.analysis_options import ClipAnalysis
from espnet2_avsep.cli.options import option
from espnet2_avsep.data.records.encoder_check import check_features
from espnet2_avsep.device import choose_device
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import bold, document, markdown_table

if TYPE_CHECKING:
    import numpy as np

    from espnet2_avsep.analysis.clip_embeddings import ClipSegments

PUBLISHED = (
    "Published (HFRA, table 5, MUSIC; eq. 9): bottleneck to CLIP 1.171 without "
    "alignment, 0.976 with it. They compare with the table above only on MUSIC, with "
    "CLIP's weights."
)
SPACES = (
    "Norm of the difference of two means: of the unit-length embeddings of the same "
    "clips, sound and picture. 0: the same mean; 2: opposite directions. Bottleneck: "
    "z_a, mean over its positions; visual: what enters the separator (the visual "
    "adapter's output; for HFRA the frozen CLIP embedding itself); projected "
    "bottleneck: z_a after the linear layer that a training with alignment puts "
    "between z_a and CLAP where their sizes differ. In the paper all sizes are 512. "
    "Embeddings of different sizes lie in different spaces, and have no gap: the sizes "
    "stand in its place."
)
# What is compared, in the order of the table's columns.
PAIRS = (
    ("bottleneck", "visual"),
    ("projected bottleneck", "visual"),
    ("bottleneck", CLAP),
    ("projected bottleneck", CLAP),
    (CLAP, "visual"),
)


@dataclass(kw_only=True)
class GapOptions(ClipAnalysis):
    """What to do, and how."""

    clips_dir: str = option(..., "clips, dump/raw/org/<test_set>_clips")
    plots: bool = option(True, "draw the picture (true or false)")


def measure_gaps(args: GapOptions) -> None:
    """Measure the gaps; write the tables and the picture."""
    experiments = read_experiments(args.experiment)
    for folder in experiments.values():
        check_features(folder, [args.clips_dir])
    rate, length = segment_of(experiments, args.segment_samples)

    from espnet2_avsep.analysis.clip_embeddings import centre_segments

    segments = centre_segments(Path(args.clips_dir), rate, length, args.segments)
    tables, about_clap = embed_all(args, experiments, segments)
    summary = summarise(args, tables, segments, about_clap)
    text = markdown(args, experiments, summary)
    folder = Path(args.output_dir)
    texts = {
        "modality_gap.md": text,
        "modality_gap.json": json.dumps(summary, indent=2) + "\n",
    }
    if args.plots:
        write_figures(
            folder, {"modality_gap.png": draw(tables, segments.categories, summary)}
        )
    write_texts(folder, texts)
    print(text)
    for name, gaps in summary["experiments"].items():
        for pair, row in gaps.items():
            if row["gap"] is not None:
                logging.info("%s, %s: modality gap %.3f", name, pair, row["gap"])


Tables = Dict[str, Dict[str, "np.ndarray"]]


def embed_all(
    args: GapOptions, experiments: Dict[str, Path], segments: "ClipSegments"
) -> Tuple[Tables, str]:
    """Return experiment -> kind of embedding -> (clips, D), and which CLAP it was."""
    from espnet2_avsep.analysis.clip_embeddings import (
        embed_separator,
        embed_teacher,
        load_separators,
    )

    device = choose_device(args.device)
    # Before the long part, as it may not be had.
    teacher = None if args.clap == "none" else load_clap(args, device)
    tables = {
        name: embed_separator(separate, segments, args.batch_size)
        for name, separate in load_separators(experiments, args.model_file, str(device))
    }
    if teacher is None:
        return tables, ""
    heard = embed_teacher(teacher, segments, device, args.batch_size)
    return {name: {**own, CLAP: heard} for name, own in tables.items()}, (
        teacher.description
    )


def pair_name(one: str, two: str) -> str:
    """Name of a comparison."""
    return f"{one} - {two}"


def summarise(
    args: GapOptions, tables: Tables, segments: "ClipSegments", about_clap: str
) -> Dict[str, Any]:
    """Return what modality_gap.json holds.

    Raises:
        InputError: an embedding without direction.
    """
    from espnet2_avsep.metrics.modality_gap import modality_gap, modality_gap_interval

    found: Dict[str, Dict[str, Dict]] = {}
    for name, kinds in tables.items():
        found[name] = {}
        for one, two in PAIRS:
            if one not in kinds or two not in kinds:
                continue
            x, y = kinds[one], kinds[two]
            row: Dict[str, Any] = {"dims": [x.shape[1], y.shape[1]], "gap": None}
            if x.shape[1] == y.shape[1]:
                try:
                    row["gap"] = modality_gap(x, y)
                except ValueError as error:
                    raise InputError(f"{name}, {one} and {two}: {error}") from error
                bounds = modality_gap_interval(
                    x, y, 0.95, args.resamples, args.bootstrap_seed
                )
                row["interval"] = finite_bounds(bounds)
            found[name][pair_name(one, two)] = row
    return {
        "clips_dir": args.clips_dir,
        "clips": len(segments.keys),
        "segment_samples": segments.num_samples,
        "sample_rate": segments.sample_rate,
        "segments": args.segments,
        "resamples": args.resamples,
        "bootstrap_seed": args.bootstrap_seed,
        "clap": about_clap or None,
        "experiments": found,
    }


def markdown(
    args: GapOptions, experiments: Dict[str, Path], summary: Dict[str, Any]
) -> str:
    """Return the text of modality_gap.md."""
    found = summary["experiments"]
    columns = [
        pair_name(*pair)
        for pair in PAIRS
        if any(pair_name(*pair) in gaps for gaps in found.values())
    ]
    note = " (random weights)" if args.clap == "random" else ""
    lines = [["experiment", *(name.replace(CLAP, CLAP + note) for name in columns)]]
    for name, gaps in found.items():
        lines.append([name, *(cell(gaps.get(column)) for column in columns)])
    settings = [
        f"{summary['clips']} single clips (`{args.clips_dir}`), "
        f"{segment_words(summary)}",
        "intervals: 95 %, percentile bootstrap over the clips, "
        f"{args.resamples} resamples, seed {args.bootstrap_seed} (of gaps near 0 they "
        "lie too high, as a distance cannot be negative)",
        *about_run(args, summary["clap"], experiments),
    ]
    return document(
        "# Modality gap",
        bold(args.corpus_note),
        SPACES,
        markdown_table(lines),
        bullet_list(settings),
        PUBLISHED,
        "![modality_gap.png](modality_gap.png)" if args.plots else "",
    )


def cell(row: Optional[Mapping[str, Any]]) -> str:
    """Return a gap with its interval, or why there is none."""
    if row is None:
        return ""
    if row["gap"] is None:
        return "{} and {} values".format(*row["dims"])
    return with_interval(row["gap"], row["interval"], digits=3)


def draw(tables: Tables, categories: List[str], summary: Dict[str, Any]):
    """Draw a panel for each experiment, of the embeddings of the picture's size."""
    from espnet2_avsep.figures.plots import embedding_planes

    panels, notes = {}, {}
    for name, kinds in tables.items():
        dim = kinds["visual"].shape[1]
        panels[name] = {kind: x for kind, x in kinds.items() if x.shape[1] == dim}
        gaps = summary["experiments"][name]
        notes[name] = ", ".join(
            f"{pair}: {row['gap']:.3f}"
            for pair, row in gaps.items()
            if row["gap"] is not None and pair.endswith("visual")
        )
        if len(panels[name]) == 1:
            notes[name] = "no embedding of sound has the picture's size"
    return embedding_planes(panels, categories, notes)
