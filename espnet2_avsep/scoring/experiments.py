"""Scored experiments: reading them, and which of them may stand in one table."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet2_avsep.analysis.clip_analysis import split_name
from espnet2_avsep.data.records.made_from import check_current, read_record, record_path
from espnet2_avsep.data.tables.yaml_file import read_yaml
from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.comparison import MIXTURE
from espnet2_avsep.metrics.score_table import ScoreRow
from espnet2_avsep.metrics.seeds import average_seeds
from espnet2_avsep.scoring.results import assignment_of, read_head, read_scored_rows

PUBLISHED = ("sdr", "sir", "sar")
BOUND, ORACLE = "upper bound", "oracle order"
# Groups of a table, in their order: systems; their runs with the pictures of other
# sources; what was made or ordered with the help of the references.
SYSTEM, SWAPPED, REFERENCE = "system", "swapped pictures", "with references"
GROUPS = (SYSTEM, SWAPPED, REFERENCE)

# What may differ between trainings of one system besides the seed: where they lie, and
# the machine they ran on.
_NOT_THE_SYSTEM = {
    *("output_dir", "train_shape_file", "valid_shape_file"),
    *("ngpu", "num_workers", "resume", "dist_backend", "dist_init_method"),
    *("dist_world_size", "dist_rank", "local_rank", "dist_master_addr"),
    *("dist_master_port", "dist_launcher", "multiprocessing_distributed"),
    "distributed",
    *("log_level", "log_interval", "num_att_plot", "picture_interval"),
}


class Experiment(NamedTuple):
    """A scored experiment, or several that differ in their seed.

    Attributes:
        name: In the tables.
        folder: Holds scored_<set>.
        home: Holds config.yaml and the log of the training: it, or the folder above.
        config: Of the training, or of the system without one.
        head: "key: value" lines at the head of result_<set>.txt.
        rows: Its scores; of several seeds, the means over them.
        options: What the separation was run with, --inference_args.
        visual: What made the pictures' embeddings, visual_info.yaml.
        trainings: The experiments that it is the mean of; empty for a single one.
    """

    name: str
    folder: Path
    home: Path
    config: Dict[str, Any]
    head: Dict[str, str]
    rows: List[ScoreRow]
    options: str = ""
    visual: Dict[str, Any] = {}
    trainings: Tuple["Experiment", ...] = ()

    @property
    def sound(self) -> str:
        """What tells whether two experiments were scored on the same mixtures."""
        head = self.head
        return head.get("sound_sha256") or f"list {head.get('list_sha256')}"

    @property
    def kind(self) -> str:
        """What is to be known of a system's scores; empty of an ordinary one."""
        return system_kind(self.config, self.options)

    @property
    def group(self) -> str:
        """Which of GROUPS it belongs to."""
        if self.kind in (BOUND, ORACLE):
            return REFERENCE
        return SWAPPED if "--shuffle_visual" in self.options.split() else SYSTEM

    def is_swapped_run_of(self, other: "Experiment") -> bool:
        """Whether it is of the other's trainings, with the pictures of other sources.

        Folders of an --inference_tag lie within the experiment's.
        """
        if (self.group, other.group) != (SWAPPED, SYSTEM):
            return False
        own = {e.folder.resolve().parent for e in self.trainings or (self,)}
        return own == {e.folder.resolve() for e in other.trainings or (other,)}

    @property
    def seeds(self) -> List[Any]:
        """The seeds of its trainings; empty where none is known."""
        configs = [e.config for e in self.trainings] or [self.config]
        return [config["seed"] for config in configs if "seed" in config]

    def published(self, corpus: Optional[str]) -> Dict[str, Any]:
        """Published scores on a corpus; empty where there are none."""
        for row in self.config.get("published") or []:
            if row.get("corpus") == corpus:
                return row
        return {}


def system_kind(config: Dict[str, Any], options: str) -> str:
    """Return "upper bound", "oracle order", "in order of output" or "".

    Args:
        config: Of the training, or of the system without one.
        options: What the separation was run with.
    """
    if config.get("trained") is not False:
        return ""
    assignment = assignment_of(config, options)
    kinds = {None: BOUND, "oracle": ORACLE, "order": "in order of output"}
    return kinds.get(assignment, str(assignment))


def _check_config(path: Path, config: Dict[str, Any]) -> None:
    """Check the values that tables are made of: a config.yaml may be edited by hand."""
    rows = config.get("published") or []
    if not isinstance(rows, list) or not all(
        isinstance(row, dict)
        and "corpus" in row
        and all(type(row.get(score, 0.0)) in (int, float) for score in PUBLISHED)
        for row in rows
    ):
        raise InputError(
            f"{path}: published is {rows!r:.200}; expected a list of {{corpus, sdr, "
            "sir, sar, source, protocol}, the scores numbers; leave out a score that "
            "is not published."
        )
    for name, kinds in (
        ("max_epoch", (int,)),
        ("num_iters_per_epoch", (int,)),
        ("accum_grad", (int,)),
        ("max_train_seconds", (int, float)),
    ):
        value = config.get(name)
        if value is not None and type(value) not in kinds:
            whole = "" if float in kinds else "whole "
            raise InputError(f"{path}: {name} is {value!r}; expected a {whole}number.")


def read_experiment(text: str, set_name: str) -> Experiment:
    """Read an experiment from [NAME=]DIR.

    Raises:
        InputError: no such folder, not scored, or of a separation that has been begun
            again.
    """
    name, folder = split_name(text)
    scores = folder / f"scored_{set_name}"
    if not scores.is_dir():
        raise InputError(
            f"--experiment {text}: there is no {scores}. Give a folder that stage 8 "
            "scored, and with --set the name of the set."
        )
    home, tag = folder.resolve(), ""
    config = read_yaml(home / "config.yaml")
    if not config and (home.parent / "config.yaml").is_file():
        home, tag = home.parent, home.name
        config = read_yaml(home / "config.yaml")
    _check_config(home / "config.yaml", config)
    noted = folder / "inference_args"
    options = noted.read_text(encoding="utf-8").strip() if noted.is_file() else ""
    if not name:
        notes = [note for note in (tag, system_kind(config, options)) if note]
        name = config.get("system") or home.name
        name += f" ({', '.join(notes)})" if notes else ""
    check_current(scores)
    if not noted.is_file() and _is_separated_anew(folder, scores):
        raise InputError(
            f"{noted}: no such file: stage 7 was run again and has not been finished, "
            "so with which options is not known. Run stages 7 and 8 again."
        )
    head = read_head(scores)
    rows = read_scored_rows(scores, head)
    visual = read_yaml(home / "visual_info.yaml")
    return Experiment(name, folder, home, config, head, rows, options, visual)


def _is_separated_anew(folder: Path, scores: Path) -> bool:
    """Return whether the separation that was scored has lost its record.

    Stage 7 removes the record when it begins. Without the folder of the tracks, which
    may have been deleted, nothing is known.

    Args:
        folder: Of the experiment, which may have been moved since it was scored.
        scores: Folder of the scores.
    """
    inputs = (read_record(scores) or {}).get("inputs", {})
    recorded = inputs.get("separation", {}).get("path")
    if not recorded:
        return False
    separated = folder / Path(recorded).parent.name
    if not separated.is_dir():
        separated = Path(recorded).parent
    return separated.is_dir() and not record_path(separated).is_file()


def merge_seeds(experiments: Sequence[Experiment]) -> List[Experiment]:
    """Make one experiment of those that have one name and differ only in their seed.

    Its scores are the means over the seeds, source by source.

    Raises:
        InputError: two of one name that are of one seed, or differ in more; a name
            that is kept for the mixtures; seeds scored on different sources.
    """
    named: Dict[str, List[Experiment]] = {}
    for experiment in experiments:
        if experiment.name == MIXTURE:
            raise InputError(
                f"--experiment {experiment.folder}: {MIXTURE!r} is the name of the "
                "mixtures themselves; give another: --experiment NAME=DIR."
            )
        named.setdefault(experiment.name, []).append(experiment)
    merged = []
    for name, own in named.items():
        if len(own) == 1:
            merged += own
            continue
        for n, second in enumerate(own[1:], 1):
            _check_seeds(own[:n], second)
        try:
            rows = average_seeds([e.rows for e in own])
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error
        merged.append(own[0]._replace(rows=rows, trainings=tuple(own)))
    return merged


def _check_seeds(before: Sequence[Experiment], second: Experiment) -> None:
    """Refuse what is not the same system trained with another seed."""
    first = before[0]
    differences = [
        key
        for key in sorted(first.config.keys() | second.config.keys())
        if key not in _NOT_THE_SYSTEM | {"seed"}
        and first.config.get(key) != second.config.get(key)
    ]
    if first.options != second.options:
        differences.append("--inference_args")
    if first.visual != second.visual:
        differences.append("visual_info.yaml")
    wrong = ""
    if differences:
        wrong = f"they differ in {', '.join(differences)}"
    elif "seed" not in second.config:
        wrong = "no seed tells them apart"
    elif second.config["seed"] in [e.config.get("seed") for e in before]:
        wrong = f"the seed {second.config['seed']} comes twice"
    if wrong:
        raise InputError(
            f"--experiment {second.folder} and {first.folder} have one name, "
            f"{first.name!r}, but are not one system trained with several seeds: "
            f"{wrong}. Give names: --experiment NAME=DIR."
        )


def check_comparable(
    experiments: Sequence[Experiment], corpus: Optional[str] = None
) -> None:
    """Refuse experiments that cannot stand in one table.

    Raises:
        InputError: other mixtures, another scorer, or a corpus of which nothing is
            published.
    """
    first = experiments[0]
    for experiment in experiments:
        if experiment.sound != first.sound:
            raise InputError(
                f"{experiment.folder} was scored on other mixtures than {first.folder} "
                f"(SHA-256 {experiment.sound} and {first.sound}). Only scores on the "
                "same mixtures can be compared: make the set once (stage 4, same "
                "--mix_seed and clips), then separate and score both with it."
            )
        backends = [e.head.get("backend") for e in (experiment, first)]
        if backends[0] != backends[1]:
            raise InputError(
                f"{experiment.folder} was scored by {backends[0]}, {first.folder} by "
                f"{backends[1]}; score both with one --scoring_backend (stage 8)."
            )
    known = sorted(
        {row["corpus"] for e in experiments for row in e.config.get("published") or []}
    )
    if corpus is not None and corpus not in known:
        raise InputError(
            f"--corpus {corpus}: none of the experiments has published scores on it; "
            f"there are scores on {', '.join(known) or 'no corpus'}."
        )
