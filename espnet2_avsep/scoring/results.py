"""What RESULTS.md says of a system: its scored sets, environment and inputs."""

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.corpus.leaks.table import leaking_clips, read_leaks
from espnet2_avsep.data.mixing.mixture_table import read_sources
from espnet2_avsep.data.records.content import file_digest
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.records.epochs import finished_epochs
from espnet2_avsep.data.records.made_from import (
    check_current,
    check_tracks,
    read_record,
)
from espnet2_avsep.data.tables.clip_folder import clip_set
from espnet2_avsep.data.tables.scp import PathLike, read_skipped
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import bullets, fenced, markdown_table, plain
from espnet2_avsep.metrics.score_table import (
    METRICS,
    MIXTURE_SAR,
    TITLES,
    ScoreRow,
    Summary,
    count_reasons,
    decibel,
    instrument_table,
    leakage_line,
    score_table,
    skip_lines,
    summarise,
)
from espnet2_avsep.scoring.score_files import read_scores


def check_model(scored: "ScoredSet", model: Path) -> None:
    """Check that the scores of a set are of the weights that are named beside them.

    Raises:
        InputError: it was separated with other weights.
    """
    known: Dict = (read_record(scored.scores) or {}).get("inputs", {})
    if "separation" not in known or not model.is_file():
        return
    separation = read_record(Path(known["separation"]["path"]).parent) or {}
    used = separation.get("inputs", {}).get("model")
    if used is not None and used["digest"] != file_digest(model):
        raise InputError(
            f"{scored.scores}: was separated with {used['path']}, not with the weights "
            f"of {model}. Run stage 7 again with --inference_model {model.name}."
        )


def parse_set(text: str, parts: Sequence[str]) -> List:
    """Split "NAME:FOLDER..." into the name and folders that exist.

    Raises:
        InputError: wrong number of parts, or no such folder.
    """
    fields = text.split(":")
    if len(fields) != len(parts) or not all(fields):
        raise InputError(
            f"{text!r}: expected {':'.join(parts)}, and no ':' in the names themselves."
        )
    name, *folders = fields[0], *map(Path, fields[1:])
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{text!r}: {folder} is not a folder.")
    return [name, *folders]


class ScoredSet(NamedTuple):
    """One scored set.

    Attributes:
        name: Its name.
        dump: Folder of its mixtures, dump/raw/<set>.
        scores: Folder of its scores.
        summary: Of its scores.
        head: "key: value" lines at the head of result_<set>.txt.
        leaks: SHA-256 of the table of leaks; empty: they were not looked for.
        leaking: Number of mixtures that hold a leaking clip.
        clean: Of the scores of the other mixtures; None: not asked for.
    """

    name: str
    dump: Path
    scores: Path
    summary: Summary
    head: Dict[str, str]
    leaks: str = ""
    leaking: int = 0
    clean: Optional[Summary] = None

    @classmethod
    def read(
        cls, text: str, leaks: Optional[PathLike] = None, leak_free: bool = False
    ) -> "ScoredSet":
        """Read a set.

        Args:
            text: NAME:SCOREDIR:DUMPDIR.
            leaks: Table of leaks.
            leak_free: Whether to average the mixtures without leaking clips too.

        Raises:
            InputError: a file of scores, of leaks or the list of mixtures is missing;
                the scores are not those of the present list and tracks.
        """
        name, scores, dump = parse_set(text, ("NAME", "SCOREDIR", "DUMPDIR"))
        list_file = dump / "mixtures.tsv"
        if not list_file.is_file():
            raise InputError(f"{list_file}: no such file; stage 4 writes it.")
        digest = file_sha256(list_file)
        head = read_head(scores)
        if head.get("list_sha256") != digest:
            raise InputError(
                f"{scores}: the scores are of another list of mixtures (SHA-256 "
                f"{head.get('list_sha256')}) than {list_file} ({digest}). Run stages 7 "
                "and 8 again."
            )
        check_current(scores)
        seed = bootstrap_seed(head)
        rows = read_scored_rows(scores, head, list_file)
        result = cls(name, dump, scores, summarise(rows, seed=seed), head)
        if leaks is None:
            return result
        clips = leaking_clips(read_leaks(leaks), clip_set(name, dump))
        mixtures = {row.mix_id for row in rows if row.clip in clips}
        rest = [row for row in rows if row.mix_id not in mixtures]
        return result._replace(
            leaks=file_sha256(leaks),
            leaking=len(mixtures),
            clean=summarise(rest, seed=seed) if leak_free else None,
        )


def bootstrap_seed(head: Dict[str, str]) -> int:
    """Return the seed of the intervals, from the head of result_<set>.txt."""
    return int(head.get("bootstrap", "seed 0").rpartition(" ")[2])


def read_head(folder: Path) -> Dict[str, str]:
    """Read the "key: value" lines at the head of the folder's result_<set>.txt.

    Raises:
        InputError: there is none, or more than one.
    """
    files = sorted(folder.glob("result_*.txt"))
    if len(files) != 1:
        raise InputError(
            f"{folder}: {len(files)} files result_*.txt; expected one. Score again "
            "(stage 8)."
        )
    head = {}
    for line in files[0].read_text(encoding="utf-8").splitlines():
        key, colon, value = line.partition(": ")
        if not colon:
            break
        head[key] = value
    return head


def read_scored_rows(
    folder: Path, head: Dict[str, str], list_file: Optional[Path] = None
) -> List[ScoreRow]:
    """Read a folder's scores.tsv, which must have a row for each source to be scored.

    Args:
        folder: scored_<set>.
        head: What :func:`read_head` returned for it.
        list_file: mixtures.tsv; None: as the head says, where it is still that.

    Raises:
        InputError: rows are missing or come more than once.
    """
    path = list_file or Path(head.get("list", ""))
    wanted = None
    if path.is_file() and "key_file" not in head:
        digest = file_sha256(path)
        if digest == head.get("list_sha256"):
            wanted = read_sources(path)
    rows = read_scores(folder / "scores.tsv", wanted)
    if head.get("sources", str(len(rows))) != str(len(rows)):
        raise InputError(
            f"{folder / 'scores.tsv'}: has {len(rows)} rows, but the result beside it "
            f"is of {head['sources']} sources; score again (stage 8)."
        )
    return rows


def headline(sets: Sequence[ScoredSet]) -> str:
    """Return the score of each set in a line, for the top of the page."""
    parts = []
    for s in sets:
        low, high = s.summary.interval["sdr_i"]
        parts.append(
            f"{plain(s.name)}: SDRi {decibel(s.summary.mean['sdr_i'])} dB "
            f"[{decibel(low)}, {decibel(high)}], SDR {decibel(s.summary.mean['sdr'])} "
            f"dB, {s.summary.scored} of {s.summary.sources} sources scored"
        )
    return "; ".join(parts) + "."


def mixture_hashes(head: Dict[str, str]) -> Dict[str, str]:
    """Return what identifies the mixtures of a set, under the names of all pages.

    Args:
        head: Of result_<set>.txt, see :func:`read_head`.
    """
    return {
        "SHA-256 of mixtures.tsv": head.get("list_sha256", "unknown"),
        "SHA-256 of the sound of the mixtures": head.get("sound_sha256", "unknown"),
    }


def corpus_notes(folders: Iterable[Path]) -> str:
    """Return the notes on the corpus in the RESULTS.md of some experiments.

    Args:
        folders: Of the experiments.
    """
    from espnet2_avsep.sharing.results_file import summary

    files = (folder / "RESULTS.md" for folder in folders)
    texts = (path.read_text(encoding="utf-8") for path in files if path.is_file())
    notes = dict.fromkeys(summary(text)["note"] for text in texts)
    return " ".join(note for note in notes if note)


def scores_section(sets: Sequence[ScoredSet]) -> str:
    """Return the table of all sets, and that of the mixtures that do not leak."""
    parts = [
        "## Scores",
        "Means in dB over the n scored sources of all mixtures; SDRi with its 95 % "
        "interval (percentile bootstrap over mixtures).",
        markdown_table(scores_lines([(s.name, s.summary) for s in sets])),
        bullets({f"leaks of {s.name}": leak_line(s) for s in sets}),
    ]
    clean = [(s.name, s.clean) for s in sets if s.clean is not None]
    if clean:
        parts += [
            "Only the mixtures that hold no leaking clip:",
            markdown_table(scores_lines(clean)),
        ]
    return "\n\n".join(parts)


def scores_lines(sets: Sequence[Tuple[str, Summary]]) -> List[List[str]]:
    """Return the lines of the table of some sets, each with its name.

    Where they differ in the number of sources of a mixture, it has a column.
    """
    columns = [*METRICS, "sdr_i"]
    counts = [str(s.sources // max(s.mixtures, 1)) for _, s in sets]
    with_counts = len(set(counts)) > 1
    with_silent = any(summary.silent for _, summary in sets)
    lines = [
        ["set", *["sources"] * with_counts, "n", "skipped", "SDR of mixture"]
        + [TITLES[c] for c in columns]
        + ["silent sources: n, leakage"] * with_silent
    ]
    for (name, summary), count in zip(sets, counts, strict=True):
        low, high = summary.interval["sdr_i"]
        lines.append(
            [
                name,
                *[count] * with_counts,
                str(summary.scored),
                str(summary.num_skipped),
                decibel(summary.mean["sdr_mix"]),
                *(decibel(summary.mean[c]) for c in columns),
            ]
        )
        lines[-1][-1] += f" [{decibel(low)}, {decibel(high)}]"
        if with_silent:
            lines[-1].append(f"{summary.silent}, {decibel(summary.leakage)}")
    return lines


def leak_line(s: ScoredSet) -> str:
    """Return how many mixtures hold clips that earlier sets hold too."""
    if not s.leaks:
        return "not looked for"
    return (
        f"{s.leaking} of {s.summary.mixtures} mixtures hold a clip whose video or "
        f"sound an earlier set has (leaks.tsv, SHA-256 {s.leaks})"
    )


def environment() -> Dict[str, str]:
    """Return date, versions and machine."""
    versions = {}
    for package in ("espnet2_avsep", "espnet", "torch", "mir_eval"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    if versions["espnet2_avsep"].startswith("not"):
        import espnet2_avsep

        versions["espnet2_avsep"] = espnet2_avsep.__version__
    lines = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        **versions,
    }
    commit = git_commit(Path(__file__).parent)
    if commit:
        lines["git commit"] = commit
    lines["machine (of this table)"] = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} x {cpu_model()}"
    )
    lines["GPU"] = gpu_names()
    return lines


def git_commit(folder: Path) -> str:
    """Return the commit that the package's files belong to; "" where there is none."""
    git = ("git", "-C", str(folder))
    # Installed files may lie within the checkout of something else.
    if output_of(*git, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return ""
    commit = output_of(*git, "rev-parse", "HEAD")
    if not commit:
        return ""
    changed = output_of(*git, "status", "--porcelain", "--untracked-files=no", ".")
    return f"{commit} with local changes" if changed else commit


def output_of(*command: str) -> Optional[str]:
    """Return what a program prints; None where it fails or is not installed."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_model() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def gpu_names() -> str:
    """Return the names of NVIDIA's GPUs, without the seconds that torch takes."""
    if not shutil.which("nvidia-smi"):
        return "none"
    found = output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    if found is None:
        return "unknown"
    names = Counter(line.strip() for line in found.splitlines() if line.strip())
    return ", ".join(f"{n} x {name}" for name, n in names.items()) or "none"


def weights_of(exp: Path, name: Optional[str]) -> Path:
    """Return the path of weights, there or not; None: the training's best."""
    from espnet2_avsep.sharing.source import DEFAULT_WEIGHTS

    names = [name] if name else DEFAULT_WEIGHTS
    return next((exp / n for n in names if (exp / n).is_file()), exp / names[0])


def experiment(
    exp: Path, config: Dict, inference_model: Optional[str]
) -> Dict[str, object]:
    """Return tag, config file, seed and weights."""
    name = exp.resolve().name
    lines: Dict[str, object] = {
        "tag": name.removeprefix("avsep_"),
        "config": config.get("config") or "none",
        "separator": f"{config.get('separator')} {config.get('separator_conf') or ''}",
        "criterions": config.get("criterions"),
        "visual adapter": adapter_line(config),
        "seed": config.get("seed"),
    }
    if not config:
        lines = {"tag": lines["tag"], "config": f"no config.yaml in {name}"}
    if done := finished_epochs(exp):
        lines["epochs"] = f"{done} of max_epoch {config.get('max_epoch')}"
    model = weights_of(exp, inference_model)
    if model.is_file():
        target = f" -> {model.resolve().name}" if model.is_symlink() else ""
        lines["model"] = f"{model.name}{target}"
        lines["SHA-256 of the weights"] = file_sha256(model)
    else:
        lines["model"] = f"{model.name} (no such file)"
    return lines


def adapter_line(config: Dict) -> str:
    """Return what makes one embedding of a source's rows, from the config."""
    conf = config.get("visual_adapter_conf") or {}
    warning = ""
    if is_random(conf.get("pretrained")):
        warning = "**frame network began with random weights, not ImageNet's**; "
    return f"{warning}{config.get('visual_adapter')} {conf or ''}".strip()


ASSIGNED = {
    "order": "in the order in which they come, which says nothing",
    "oracle": "**by the references (oracle)**: the order with the best mean SI-SDR, an "
    "upper bound that no system without knowledge of the sources reaches",
}


def untrained(exp: Path, config: Dict, inference_args: str) -> Dict[str, object]:
    """Return what a system without training is, from its config."""
    lines: Dict[str, object] = {
        "tag": exp.resolve().name.removeprefix("avsep_"),
        "config": config.get("config") or "none",
        "system": config.get("system"),
        "method": f"{config.get('baseline')} {config.get('baseline_conf') or ''}",
        "training": "none; visual inputs are not looked at",
    }
    assignment = assignment_of(config, inference_args)
    if assignment:
        lines["outputs are assigned to sources"] = ASSIGNED.get(assignment, assignment)
    else:
        lines["bound"] = "**made from the true sources**: an upper bound, not a system"
    return lines


def assignment_of(config: Dict, inference_args: str) -> Optional[str]:
    """Return how outputs are assigned to sources: the option's value, or the config's.

    None: the outputs have an order of their own.
    """
    words = inference_args.replace("=", " ").split()
    if "--assignment" in words[:-1]:
        return words[words.index("--assignment") + 1]
    return config.get("assignment")


def encoder_sections(config: Dict, sets: Sequence[ScoredSet], exp: Path) -> List[str]:
    """Return the sections on the visual encoder and the teacher, where there are."""
    if config.get("trained") is False:
        return []
    encoders = [visual_line(s.name, s.dump, exp) for s in sets]
    return [
        "## Visual encoder\n\n" + "\n".join(encoders),
        "## Teacher\n\n" + teacher_lines(config),
    ]


def is_random(value: object) -> bool:
    """Whether a setting, or one within it, says "random" (also "random, seed 0")."""
    if isinstance(value, dict):
        return any(map(is_random, value.values()))
    return "random" in [word.strip() for word in str(value).lower().split(",")]


def visual_line(name: str, dump: Path, exp: Path) -> str:
    """Return what made the embeddings of a set, from visual_info.yaml."""
    for folder in (dump, exp):
        info = read_yaml(folder / "visual_info.yaml")
        if info:
            details = ", ".join(f"{key}: {value}" for key, value in info.items())
            warning = ""
            if is_random(info):
                warning = "**randomly initialised encoder, not CLIP**; "
            return f"* {name}: {warning}{details}"
    return f"* {name}: not known (no visual_info.yaml in {dump} or {exp.name})"


def teacher_lines(config: Dict) -> str:
    """Return the teacher of the alignment loss, from the config."""
    if not config:
        return "Not known (no config.yaml)."
    teacher = config.get("teacher")
    if not teacher:
        return "None."
    conf = config.get("teacher_conf") or {}
    lines = {"teacher": teacher, **conf}
    if teacher == "precomputed":
        info = read_yaml(Path(str(conf.get("scp"))).parent / "teacher_info.yaml")
        lines["embeddings"] = info.get("teacher", "not known (no teacher_info.yaml)")
    warning = ""
    if is_random(lines):
        warning = "**randomly initialised teacher, not CLAP**\n\n"
    return warning + bullets(lines)


def set_lines(s: ScoredSet) -> Dict[str, object]:
    """Return what one set's scores are of, and how they were made."""
    summary, head = s.summary, s.head
    return {
        "mixtures": f"{summary.mixtures}, at least one source scored of "
        f"{summary.mixtures_scored}",
        "sources": f"{summary.sources}: {summary.scored} scored, "
        f"{summary.num_skipped} skipped"
        + (f", {summary.silent} silent by intention" if summary.silent else ""),
        **mixture_hashes(head),
        "scored by": f"backend {head.get('backend', 'unknown')}, BSS Eval v3, 512 "
        "taps, no permutation; references cut to the estimate's length; estimates "
        f"clipped to [-1, 1] ({head.get('samples_clipped', 'unknown')} samples in "
        f"{head.get('estimates_clipped', 'unknown')} estimates)",
        "interval": f"95 %, {head.get('bootstrap', 'unknown')}",
    }


def set_section(s: ScoredSet) -> str:
    """Return one set's list, table, skips and instruments."""
    summary = s.summary
    parts = [f"## {plain(s.name)}", bullets(set_lines(s))]
    if summary.skipped:
        parts.append(markdown_table(skip_lines(summary, "skipped, by reason")))
    parts += [leakage_line(summary)] if summary.silent else []
    parts += [score_table(summary), MIXTURE_SAR, instrument_table(summary)]
    if s.clean is not None:
        rest = summary.mixtures - s.leaking
        parts.append(f"The {rest} mixtures that hold no leaking clip:")
        parts += [leakage_line(s.clean)] if s.clean.silent else []
        parts += [score_table(s.clean), instrument_table(s.clean)]
    grounding = grounding_section(s.name, s.scores)
    return "\n\n".join([*parts, *([grounding] if grounding else [])])


def grounding_section(name: str, scored: Path) -> str:
    """Return how often pictures were told right that sound; "" where none was asked."""
    from espnet2_avsep.metrics.grounding_table import accuracy_lines
    from espnet2_avsep.scoring.grounding import TABLE, read_table

    path = scored.parent / f"grounded_{name}" / TABLE
    if not path.is_file():
        return ""
    table = markdown_table(accuracy_lines(read_table(path)))
    return f"### {plain(name)}: which picture sounds\n\n{table}"


def real_section(name: str, separated: Path, dump: Path) -> str:
    """Return where the tracks of real mixtures are, which nothing can score."""
    from espnet2_avsep.data.tables.scp import read_scp

    mixtures = read_scp(dump / "wav.scp")
    real = read_yaml(dump / "counts.yaml").get("real") or {}
    tracks = sorted(separated.glob("spk*.scp"))
    if not tracks:
        raise InputError(f"{separated}: no spk*.scp; separate it first (stage 7).")
    check_tracks(separated)
    prompts = {
        "class_mean": "the mean embedding of its instrument's training clips",
        "halves": "one half of the picture, source 1 by the left one",
    }.get(real.get("prompts"), "not known")
    example = next(iter(mixtures))
    lines = {
        "real mixtures": f"{len(mixtures)}, separated and not scored: there are no "
        "references",
        "each source is prompted by": prompts,
        "to listen, the mixtures": dump / "wav.scp",
        "their tracks": ", ".join(map(str, tracks)),
        "for example": ", ".join(
            [mixtures[example], *(read_scp(table)[example] for table in tracks)]
        ),
    }
    return f"## {plain(name)}\n\n" + bullets(lines)


def clips_section(sets: Sequence[Sequence]) -> str:
    """Return the clips that stages 1 to 4 left out, from counts.yaml or skipped.tsv."""
    lines = [["set", "clips listed", "kept", "left out", "mixtures not made"]]
    reasons = [["set", "stage", "reason", "clips"]]
    for name, dump in sets:
        counts = read_yaml(dump / "counts.yaml")
        mixtures = counts.get("mixtures") or {}
        not_made = "" if not mixtures else mixtures["listed"] - mixtures["made"]
        shown = [counts.get(key, "unknown") for key in ("listed", "kept", "left_out")]
        lines.append([name, *map(str, shown), str(not_made)])
        for stage, found in skipped_by_stage(dump, counts).items():
            for reason, number in found.items():
                reasons.append([name, stage, reason, str(number)])
        for reason, number in (mixtures.get("skipped") or {}).items():
            reasons.append([name, "mixture list", f"{reason} (mixture)", str(number)])
    text = markdown_table(lines)
    if len(reasons) > 1:
        text += "\n\n" + markdown_table(reasons)
    return text


def lists_section(sets: Sequence[Sequence]) -> str:
    """Return how much of each set's list is there, and the lists' SHA-256."""
    lines = []
    for name, dump in sets:
        counts = read_yaml(dump / "counts.yaml")
        source = counts.get("source") or {}
        if not source:
            continue
        there = f"{source['found']} of {source['listed']} listed clips are there"
        missing = ", ".join(f"{kind}: {n}" for kind, n in source["missing"].items())
        kept = f", {counts['kept']} are used" if "kept" in counts else ""
        lines.append(
            f"* {name}: {there}{f' (missing: {missing})' if missing else ''}{kept}; "
            f"layout: {source['layout']}; split: {source['split']}; SHA-256 of the "
            f"list of clips {source['list_sha256']}"
        )
        if source.get("list"):
            lines[-1] += f"; {source['list']}, SHA-256 {source['list_file_sha256']}"
        mixtures = counts.get("mixtures") or {}
        if mixtures.get("list"):
            lines[-1] += (
                f"; mixtures from {Path(mixtures['list']).name}, SHA-256 "
                f"{mixtures.get('list_sha256')}: {mixtures['made']} of "
                f"{mixtures['listed']} made"
            )
        if mixtures.get("of_one_video"):
            lines[-1] += (
                f"; {mixtures['of_one_video']} of the mixtures are of two clips of one "
                "video, as the list has them"
            )
    return "## Corpus\n\n" + "\n".join(lines) if lines else ""


def skipped_by_stage(dump: Path, counts: Dict) -> Dict[str, Dict[str, int]]:
    """Count skipped clips: stage -> kind of reason -> number."""
    if "skipped" in counts:
        return counts["skipped"]
    rows = read_skipped(dump / "skipped.tsv")
    return {
        stage: count_reasons([row.reason for row in rows if row.stage == stage])
        for stage in sorted({row.stage for row in rows})
    }


def commands_section(exp: Path) -> str:
    """Return what training wrote into run.sh."""
    script: PathLike = exp / "run.sh"
    if not script.is_file():
        return ""
    text = script.read_text(encoding="utf-8").strip()
    return f"## Command\n\n{plain(exp.name)}/run.sh:\n\n{fenced(text, 'sh')}"
