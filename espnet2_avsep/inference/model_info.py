"""What is on record about a model: its size, prompts, classes, corpus, scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from espnet2_avsep.sharing.source import ModelFiles

# The training's segment where its config does not say.
DEFAULT_SEGMENT = 65280
# Adapters of embeddings, which leave their size as it is.
_EMBEDDING_ADAPTERS = ("mean", "standardise")


class ModelFacts(NamedTuple):
    """What config and weights say of a model.

    Attributes:
        train_config: The training's config.yaml.
        system: Its name there.
        separator: Name of the separator.
        parameters: Their number, without buffers.
        sample_rate: In Hz.
        segment: Samples of a segment of the training.
        weights_sha256: Of the file of the weights.
        prompt_dim: Size of an embedding; None where the model takes pictures.
        classes: That it knows by number.
        needs: What it takes of each source beside its prompt, in words.
    """

    train_config: Path
    system: Optional[str]
    separator: str
    parameters: int
    sample_rate: int
    segment: int
    weights_sha256: str
    prompt_dim: Optional[int]
    classes: Sequence[str]
    needs: Sequence[str] = ()


def read_facts(files: "ModelFiles") -> Optional[ModelFacts]:
    """Read the facts off config and weights, without torch.

    Whether the weights fit the config is not checked.

    Returns:
        None where that is not possible: for separators of other packages, models that
        take pictures, or motion or classes beside an embedding, values that the config
        leaves out, files that are damaged. Then
        build the model (``SeparateAV.facts``), which says what is wrong.
    """
    from espnet2_avsep.data.conditions import WITH_ROWS
    from espnet2_avsep.data.records.digest import file_sha256
    from espnet2_avsep.data.records.weight_shapes import count_parameters, read_shapes
    from espnet2_avsep.data.tables.base_config import read_config
    from espnet2_avsep.data.tables.class_labels import class_numbers
    from espnet2_avsep.errors import InputError
    from espnet2_avsep.registry import separator_choices
    from espnet2_avsep.sharing.source import default_weights

    folder = files.config.parent
    try:
        config = read_config(files.config)
        weights = files.weights or default_weights(folder)
        classes = list(class_numbers(config.get("classes") or []))
    except InputError:
        return None
    separator, rate = config.get("separator"), config.get("sample_rate", 0)
    conf = config.get("separator_conf") or {}
    data = config.get("dataset_conf") or {}
    if not isinstance(conf, dict) or not isinstance(data, dict):
        return None
    dim, segment = conf.get("visual_dim"), data.get("segment_samples", DEFAULT_SEGMENT)
    shapes = read_shapes(weights)
    if (
        not shapes
        or config.get("visual_adapter") not in _EMBEDDING_ADAPTERS
        or not isinstance(separator, str)
        or separator not in separator_choices
        or data.get("labels")
        or any((folder / f"{c.stem}_info.yaml").exists() for c in WITH_ROWS)
        or not all(type(value) is int and value > 0 for value in (rate, dim, segment))
    ):
        return None
    return ModelFacts(
        files.config,
        config.get("system"),
        separator,
        count_parameters(shapes),
        rate,
        segment,
        file_sha256(weights),
        dim,
        classes,
    )


def about(facts: ModelFacts) -> Dict[str, Any]:
    """Return what a model takes, its classes, corpus and scores."""
    found: Dict[str, Any] = {"prompts": _prompts(facts)}
    if facts.needs:
        found["needs"] = (
            f"{' and '.join(facts.needs)} of each source, too: it separates in Python, "
            "and prepared mixtures (stage 7), not with 'avsep separate'"
        )
    return {**found, **_results(facts)}


def _results(facts: ModelFacts) -> Dict[str, Any]:
    """Return classes, corpus and scores, as far as they are on record."""
    from espnet2_avsep.sharing.results_file import summary

    path = Path(facts.train_config).parent / "RESULTS.md"
    if not path.is_file():
        return {
            "classes": list(facts.classes) or "not on record",
            "scores": "none: no RESULTS.md beside the model (stage 8 writes it)",
        }
    said = summary(path.read_text(encoding="utf-8", errors="replace"))
    scored: List[str] = []
    for rows in said["instruments"].values():
        scored += [r["instrument"] for r in rows if r["instrument"] not in scored]
    found: Dict[str, Any] = {
        "classes": list(facts.classes) or scored or "not on record",
        "corpus": dict(line.partition(": ")[::2] for line in said["corpus"]),
        "scores": {
            row["set"]: _score(row, "n" if "n" in row else "scored")
            for row in said["scores"]
        },
    }
    for name, rows in said["instruments"].items():
        found[f"scores of {name}"] = {
            row["instrument"]: _score(row, "scored") for row in rows
        }
    if said["note"]:
        found["note"] = said["note"]
    if said["weights"] and not _is_of(said["weights"], facts):
        found["warning"] = f"the scores are of other weights: {said['weights']}"
    return found


def _score(row: Dict[str, str], number: str) -> str:
    """Return the scores of a row in words."""
    names = ("SDR", "SDRi", "SIR", "SAR", "SI-SDR")
    values = [f"{name} {row[name]}" for name in names if row.get(name)]
    return f"{', '.join(values)} dB (n = {row.get(number, '?')})"


def _is_of(said: str, facts: ModelFacts) -> bool:
    """Tell whether a line with a SHA-256 is of these weights.

    A packed model holds them in two formats, and names both checksums.
    """
    from espnet2_avsep.sharing.source import packed_digests

    packed = packed_digests(Path(facts.train_config).parent)
    digests = [facts.weights_sha256, *packed.values()]
    return "SHA-256" not in said or any(digest in said for digest in digests)


def _prompts(facts: ModelFacts) -> Dict[str, str]:
    """Say which prompts the model takes (yes), and why not the others (no: ...)."""
    from espnet2_avsep.errors import InputError
    from espnet2_avsep.visual.encoder_info import read_info, text_refusal

    path = Path(facts.train_config).parent / "visual_info.yaml"
    try:
        info = read_info(path)
    except InputError as error:
        return {"embedding": "yes", "picture": f"no: {error}", "text": f"no: {error}"}
    encoder = " ".join(
        str(info[key]) for key in ("encoder", "model", "weights") if key in info
    )
    refusal = text_refusal(path, info)
    pictures_only = facts.prompt_dim is None
    return {
        "picture": f"yes, encoded by {encoder}",
        "region": "yes, of a video or a picture",
        "embedding": "no: the model takes pictures" if pictures_only else "yes",
        "text": f"no: {refusal}" if refusal else "yes",
    }
