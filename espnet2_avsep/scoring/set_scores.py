"""Scores of the separated sources of a set: scores.tsv and result_<set>.txt."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional

from espnet2_avsep.cli.options import Log, option
from espnet2_avsep.data.mixing.mixture_table import (
    read_silent,
    read_sources,
    sound_sha256,
)
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.records.made_from import (
    Record,
    check_current,
    check_folder,
    check_sets,
    check_unchanged,
    is_finished,
    make_record,
    record_path,
    with_outputs,
    write_record,
)
from espnet2_avsep.data.tables.key_check import check_same_keys, shorten
from espnet2_avsep.data.tables.scp import PathLike, read_scp, write_file
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.score_table import (
    MIXTURE_SAR,
    RESAMPLES,
    Summary,
    instrument_table,
    leakage_line,
    score_table,
    summarise,
)
from espnet2_avsep.scoring.mixture_scorer import MixtureScorer, Tables
from espnet2_avsep.scoring.score_files import MixtureScores, write_scores


@dataclass(kw_only=True)
class ScoringOptions(Log):
    """What to do, and how."""

    ref_scp: List[str] = option(
        ...,
        "wav.scp of the references of one source; repeat in the sources' order",
        repeat=True,
    )
    inf_scp: List[str] = option(
        ...,
        "wav.scp of the estimates of one source; repeat in the same order",
        repeat=True,
    )
    mix_scp: str = option(..., "wav.scp of the mixtures")
    mixtures: str = option(..., "mixtures.tsv, the list they were made from")
    output_dir: str = option(
        ..., "folder of the results; scored_<set> gives result_<set>.txt"
    )
    mix_scores: str = option(
        ...,
        "table of the mixtures' own scores: used where it belongs to the list, "
        "computed and written where not",
    )
    backend: str = option(
        "fast",
        "fast: our own, in numpy; mir_eval: the reference computation",
        choices=["fast", "mir_eval"],
    )
    separated_dir: Optional[str] = option(
        None,
        "stage 7's folder of the estimates: an error where they were separated from "
        "other mixtures or by another model than those that are there now, or have "
        "changed since (default: not checked)",
    )
    key_file: Optional[str] = option(
        None, "score only the mixtures that stand in its first column"
    )
    batch_size: int = option(8, "mixtures of one length at a time", least=1)
    num_threads: int = option(
        0, "of matrix operations; 0: as OMP_NUM_THREADS says", least=0
    )
    max_length_difference: int = option(
        256,
        "samples by which estimate and reference may differ in length: one hop",
        least=0,
    )
    seed: int = option(0, "of the bootstrap resampling", least=0)


def score_set(args: ScoringOptions) -> None:
    """Score a set, unless its scores are current; print the tables."""
    check_options(args)
    output_dir = Path(args.output_dir)
    check_folder(output_dir, 8)
    result_file = output_dir / f"result_{set_name(output_dir)}.txt"
    with contextlib.ExitStack() as stale:
        for path in (result_file, record_path(output_dir)):
            stale.callback(path.unlink, missing_ok=True)
        if args.separated_dir:
            check_current(args.separated_dir, required=True)
            for path in args.inf_scp:
                check_unchanged(path, 7)
        check_sets([args.mix_scp])
        tables = read_tables(args)
        record = _record(args)
        if is_finished(output_dir, record):
            stale.pop_all()
            logging.info("%s: nothing has changed since it was written", result_file)
            print(result_file.read_text(encoding="utf-8"))
            return
    list_sha256 = file_sha256(args.mixtures)
    cache = MixtureScores(args.mix_scores, list_sha256, len(tables.clips), args.backend)
    scorer = MixtureScorer(tables, cache, args.backend, args.max_length_difference)
    with _threads(args.num_threads):
        rows = scorer.score(tables.keys, args.batch_size)
    cache.write(tables.clips)

    write_scores(output_dir / "scores.tsv", rows)
    summary = summarise(rows, seed=args.seed)
    for reason, number in summary.skipped.items():
        logging.warning("skipped %d source(s): %s", number, reason)
    if not summary.scored and not summary.silent:
        raise InputError(
            f"none of {summary.sources} sources could be scored: "
            f"{'; '.join(f'{r} ({n})' for r, n in summary.skipped.items())}. See the "
            f"column 'reason' of {output_dir / 'scores.tsv'}."
        )
    head = {
        "set": set_name(output_dir),
        "backend": args.backend,
        "list": args.mixtures,
        "list_sha256": list_sha256,
        "sound_sha256": sound_sha256(args.mixtures),
        "mixtures": summary.mixtures,
        "mixtures_scored": summary.mixtures_scored,
        "sources": summary.sources,
        "scored": summary.scored,
        "skipped": summary.num_skipped,
        **({"silent_sources": summary.silent} if summary.silent else {}),
        "singular_mixtures": scorer.num_singular,
        "estimates_clipped": scorer.num_clipped,
        "samples_clipped": scorer.num_clipped_samples,
        **({"key_file": args.key_file} if args.key_file else {}),
        "bootstrap": f"{RESAMPLES} resamples of the mixtures, seed {args.seed}",
    }
    text = result_text(head, summary)
    write_file(result_file, text)
    outputs = (result_file, output_dir / "scores.tsv", Path(args.mix_scores))
    write_record(output_dir, with_outputs(record, filter(Path.is_file, outputs)))
    print(text)
    logging.info("wrote %s and %s", output_dir / "scores.tsv", result_file)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Limit the threads of numpy's and scipy's matrix operations; 0 does not."""
    if number == 0:
        yield
        return
    import scipy.linalg  # noqa: F401, loads the libraries that are limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(number):
        yield


def _record(args: ScoringOptions) -> Record:
    """Return what the scores are made from."""
    tables = {"mixtures' sound": args.mix_scp}
    for name, paths in (("reference", args.ref_scp), ("estimate", args.inf_scp)):
        tables.update({f"{name} {n}": path for n, path in enumerate(paths, 1)})
    files = {"mixtures": args.mixtures}
    if args.key_file:
        files["keys"] = args.key_file
    if args.separated_dir:
        files["separation"] = str(record_path(args.separated_dir))
    options = ("backend", "max_length_difference", "seed")
    options = {name: getattr(args, name) for name in options}
    return make_record(8, tables, files, options)


def check_options(args: ScoringOptions) -> None:
    """Refuse options that make no sense.

    Raises:
        InputError: see the messages.
    """
    if len(args.ref_scp) != len(args.inf_scp) or len(args.ref_scp) < 2:
        raise InputError(
            f"{len(args.ref_scp)} --ref_scp and {len(args.inf_scp)} --inf_scp were "
            "given; give one of each for every source, and at least two: interference "
            "is measured between sources."
        )


def set_name(output_dir: Path) -> str:
    """Name of the set: the folder's name without "scored_"."""
    return output_dir.resolve().name.removeprefix("scored_")


def read_tables(args: ScoringOptions) -> Tables:
    """Read the tables named on the command line and check that they belong together.

    Raises:
        InputError: a table is missing or malformed, or two of them disagree.
    """
    clips = read_sources(args.mixtures)
    number = len(next(iter(clips.values())))
    if number != len(args.ref_scp):
        raise InputError(
            f"{args.mixtures} lists mixtures of {number} sources, but "
            f"{len(args.ref_scp)} --ref_scp were given; give one for each source."
        )
    references = [read_scp(path) for path in args.ref_scp]
    estimates = [read_scp(path) for path in args.inf_scp]
    mixtures = read_scp(args.mix_scp)
    check_same_keys(
        {**dict(zip(args.ref_scp, references, strict=True)), args.mix_scp: mixtures}
    )
    check_known(args.mix_scp, mixtures, args.mixtures, clips)
    for path, table in zip(args.inf_scp, estimates, strict=True):
        check_known(path, table, args.mixtures, clips)
    keys = list(clips)
    if args.key_file:
        wanted = read_keys(args.key_file)
        check_known(args.key_file, wanted, args.mixtures, clips)
        keys = [key for key in keys if key in wanted]
    silent = read_silent(args.mixtures)
    return Tables(keys, clips, references, estimates, mixtures, silent)


def read_keys(path: PathLike) -> Dict[str, None]:
    """Read the first column of a file of keys.

    Raises:
        InputError: the file is missing or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; --key_file must exist.")
    lines = path.read_text(encoding="utf-8").splitlines()
    keys = dict.fromkeys(line.split()[0] for line in lines if line.strip())
    if not keys:
        raise InputError(f"{path}: is empty; expected the id of one mixture a line.")
    return keys


def check_known(
    path: PathLike, table: Iterable[str], list_path: PathLike, known: Iterable[str]
) -> None:
    """Refuse a table with keys that are not in the list of mixtures."""
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise InputError(
            f"{path} has {len(unknown)} key(s) that {list_path} does not list: "
            f"{shorten(unknown)}. Do the two belong to the same set?"
        )


def result_text(head: Dict[str, object], summary: Summary) -> str:
    """Text of ``result_<set>.txt``: "key: value" lines, then tables."""
    lines = [f"{key}: {value}" for key, value in head.items()]
    lines += ["", "skipped, by reason:"]
    lines += [f"  {number} x {reason}" for reason, number in summary.skipped.items()]
    lines += [] if summary.skipped else ["  none"]
    lines += [
        "",
        "Means over all scored sources of all mixtures; interval: 95 %, percentile "
        "bootstrap over mixtures.",
        "SDR, SIR, SAR: BSS Eval v3, 512-tap filters, no permutation; references cut "
        "to the estimate's length, estimates clipped to [-1, 1].",
        MIXTURE_SAR,
        "",
        *([leakage_line(summary), ""] if summary.silent else []),
        score_table(summary),
        "",
        instrument_table(summary),
        "",
    ]
    return "\n".join(lines)
