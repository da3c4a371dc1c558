"""Linear probes of the bottleneck of separators and of CLAP (HFRA, table 4)."""

import dataclasses
import json
import logging
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

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
    "Published (HFRA, table 4, MUSIC): bottleneck without alignment 49.58 %, with it "
    "58.82 %, CLAP 59.66 %. They compare with the table above only on MUSIC, with "
    "CLAP's weights."
)
BASELINES = {
    "most frequent class": "most_frequent_class",
    "chance, 1 / number of classes": "chance",
}


@dataclass(kw_only=True)
class ProbeOptions(ClipAnalysis):
    """What to do, and how."""

    train_dir: str = option(..., "training clips, dump/raw/<train_set>")
    test_dir: str = option(..., "test clips, dump/raw/org/<test_set>_clips")
    seeds: List[int] = option(
        [0, 1, 2], "a probe for each: it draws the crops of the training clips", least=0
    )
    penalty: float = option(
        1.0,
        "of the weights' squares (scikit-learn's 1 / C), standardised embeddings",
        above=0,
    )


@dataclasses.dataclass
class Probed:
    """What the probes of one kind of embedding made of the test clips.

    Attributes:
        dim: Width D of the embedding.
        predicted: For each seed, the class of each test clip.
        right: Whether that is its class, (seeds, clips).
    """

    dim: int
    predicted: List[List[str]]
    right: "np.ndarray"


def probe_experiments(args: ProbeOptions) -> None:
    """Train and test the probes; write the tables."""
    if min(args.seeds) < 0 or len(set(args.seeds)) < len(args.seeds):
        raise InputError(f"--seeds {args.seeds}: expected different numbers from 0 on.")
    experiments = read_experiments(args.experiment)
    for folder in experiments.values():
        check_features(folder, (args.train_dir, args.test_dir))
    rate, length = segment_of(experiments, args.segment_samples)

    from espnet2_avsep.analysis.clip_embeddings import centre_segments, random_segments

    test = centre_segments(Path(args.test_dir), rate, length, args.segments)
    train = {
        seed: random_segments(Path(args.train_dir), rate, length, seed)
        for seed in args.seeds
    }
    check_disjoint(train[args.seeds[0]], test)
    results, about_clap = probe_all(args, experiments, train, test)
    summary = summarise(args, results, train[args.seeds[0]], test, about_clap)
    text = markdown(args, experiments, summary)
    write_texts(
        Path(args.output_dir),
        {
            "linear_probe.md": text,
            "linear_probe.json": json.dumps(summary, indent=2) + "\n",
            "linear_probe_predictions.tsv": prediction_lines(args, results, test),
        },
    )
    print(text)
    for name, row in summary["representations"].items():
        logging.info("%s: accuracy %.2f %%", name, 100 * row["accuracy"])


def check_disjoint(train: "ClipSegments", test: "ClipSegments") -> None:
    """Refuse to test on training clips.

    Raises:
        InputError: a clip is in both sets, or there is only one class to tell.
    """
    both = sorted(set(train.keys) & set(test.keys))
    if both:
        raise InputError(
            f"--train_dir and --test_dir share {len(both)} clips, the first is "
            f"{both[0]}; give the clips of two different sets."
        )
    if len(set(train.categories)) < 2:
        raise InputError(
            "--train_dir: all clips are of one class; there is nothing to tell apart."
        )


def probe_all(
    args: ProbeOptions,
    experiments: Dict[str, Path],
    train: Dict[int, "ClipSegments"],
    test: "ClipSegments",
) -> Tuple[Dict[str, Probed], str]:
    """Embed and probe; return what was found, and which CLAP it was."""
    from espnet2_avsep.analysis.clip_embeddings import (
        BOTTLENECK,
        embed_separator,
        embed_teacher,
        load_separators,
    )

    device = choose_device(args.device)
    # Before the long part, as it may not be had.
    teacher = None if args.clap == "none" else load_clap(args, device)
    results: Dict[str, Probed] = {}
    for name, separate in load_separators(experiments, args.model_file, str(device)):
        logging.info("%s: bottleneck", name)
        tables = {
            seed: embed_separator(separate, segments, args.batch_size)[BOTTLENECK]
            for seed, segments in train.items()
        }
        tested = embed_separator(separate, test, args.batch_size)[BOTTLENECK]
        results[name] = probe(tables, tested, train, test, args.penalty)
    if teacher is None:
        return results, ""
    tables = {
        seed: embed_teacher(teacher, segments, device, args.batch_size)
        for seed, segments in train.items()
    }
    tested = embed_teacher(teacher, test, device, args.batch_size)
    results[CLAP] = probe(tables, tested, train, test, args.penalty)
    return results, teacher.description


def probe(
    tables: Dict[int, "np.ndarray"],
    tested: "np.ndarray",
    train: Dict[int, "ClipSegments"],
    test: "ClipSegments",
    penalty: float,
) -> Probed:
    """Train a probe for each seed; return the classes that it gives the test clips."""
    import numpy as np

    from espnet2_avsep.metrics.linear_probe import fit_linear_probe

    predicted = []
    for seed, table in tables.items():
        classes = sorted(set(train[seed].categories))
        numbers = np.array([classes.index(name) for name in train[seed].categories])
        fitted = fit_linear_probe(table, numbers, len(classes), penalty)
        predicted.append([classes[n] for n in fitted.predict(tested)])
    right = np.array(predicted) == np.array(test.categories)
    return Probed(tested.shape[1], predicted, right)


def summarise(
    args: ProbeOptions,
    results: Dict[str, Probed],
    train: "ClipSegments",
    test: "ClipSegments",
    about_clap: str,
) -> Dict[str, Any]:
    """Return what linear_probe.json holds; shares lie between 0 and 1."""
    from espnet2_avsep.metrics.bootstrap import bootstrap_interval

    def interval(values: "np.ndarray") -> List[Optional[float]]:
        bounds = bootstrap_interval(
            values, test.keys, 0.95, args.resamples, args.bootstrap_seed
        )
        return finite_bounds(bounds)

    counts = Counter(train.categories)
    classes = sorted(counts)
    frequent = max(classes, key=lambda name: counts[name])
    first = next(iter(results.values())).right.mean(axis=0)
    rows: Dict[str, Dict] = {}
    for name, found in results.items():
        share = found.right.mean(axis=0)  # of the seeds that are right, (clips,)
        rows[name] = {
            "dim": found.dim,
            "accuracy": float(share.mean()),
            "interval": interval(share),
            "seeds": {
                str(seed): float(right.mean())
                for seed, right in zip(args.seeds, found.right, strict=True)
            },
            "minus_first": float((share - first).mean()),
            "minus_first_interval": interval(share - first),
            "classes": {
                category: statistics.fmean(
                    x
                    for x, c in zip(share, test.categories, strict=True)
                    if c == category
                )
                for category in sorted(set(test.categories))
            },
        }
    return {
        "train_dir": args.train_dir,
        "test_dir": args.test_dir,
        "train_clips": len(train.keys),
        "test_clips": len(test.keys),
        "train_classes": classes,
        "unknown_classes": sorted(set(test.categories) - set(classes)),
        "segment_samples": test.num_samples,
        "sample_rate": test.sample_rate,
        "segments": args.segments,
        "seeds": args.seeds,
        "penalty": args.penalty,
        "resamples": args.resamples,
        "bootstrap_seed": args.bootstrap_seed,
        "clap": about_clap or None,
        "most_frequent_class": test.categories.count(frequent) / len(test.keys),
        "chance": 1 / len(classes),
        "representations": rows,
    }


def markdown(
    args: ProbeOptions, experiments: Dict[str, Path], summary: Dict[str, Any]
) -> str:
    """Return the text of linear_probe.md."""
    first = next(iter(summary["representations"]))
    lines = [["representation", "D", "accuracy, %", "of each seed", f"minus {first}"]]
    for name, row in summary["representations"].items():
        note = " (random weights)" if name == CLAP and args.clap == "random" else ""
        gain = percent(row["minus_first"], row["minus_first_interval"])
        lines.append(
            [
                name + note,
                str(row["dim"]),
                percent(row["accuracy"], row["interval"]),
                ", ".join(map(percent, row["seeds"].values())),
                gain if name != first else "",
            ]
        )
    for name, key in BASELINES.items():
        lines.append([name, "", percent(summary[key]), "", ""])
    settings = [
        f"trained on {summary['train_clips']} clips of "
        f"{len(summary['train_classes'])} classes (`{args.train_dir}`), a random "
        f"segment of each a seed (seeds {', '.join(map(str, args.seeds))})",
        f"tested on {summary['test_clips']} clips (`{args.test_dir}`), "
        f"{segment_words(summary)}",
        "single clips, not mixtures; bottleneck: mean over its positions (z_a)",
        "probe: multinomial logistic regression on standardised embeddings, penalty "
        f"{args.penalty:g}",
        "intervals: 95 %, percentile bootstrap over the test clips, "
        f"{args.resamples} resamples, seed {args.bootstrap_seed}",
        *about_run(args, summary["clap"], experiments),
    ]
    if summary["unknown_classes"]:
        unknown = ", ".join(summary["unknown_classes"])
        settings.append(f"test classes without training clips, always wrong: {unknown}")
    return document(
        "# Linear probe",
        bold(args.corpus_note),
        "Share of the test clips whose class a linear map of the embedding tells.",
        markdown_table(lines),
        bullet_list(settings),
        PUBLISHED,
    )


def percent(value: float, interval: Sequence[Optional[float]] = (None, None)) -> str:
    """Format a share as a percentage, with its interval where there is one."""
    return with_interval(100 * value, [x if x is None else 100 * x for x in interval])


def prediction_lines(
    args: ProbeOptions, results: Dict[str, Probed], test: "ClipSegments"
) -> str:
    """Return a line for each representation, seed and test clip."""
    from espnet2_avsep.data.tables.tsv import format_tsv

    rows = (
        (name, seed, *row)
        for name, found in results.items()
        for seed, predicted in zip(args.seeds, found.predicted, strict=True)
        for row in zip(test.keys, test.categories, predicted, strict=True)
    )
    return format_tsv(("representation", "seed", "clip", "class", "predicted"), rows)
