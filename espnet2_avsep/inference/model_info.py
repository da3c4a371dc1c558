"""What is on record about a model: prompts, classes, corpus, scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

if TYPE_CHECKING:
    from espnet2_avsep.inference.separate import SeparateAV


def about(separate: "SeparateAV") -> Dict[str, Any]:
    """Return the prompts that a model takes, its classes, corpus and scores."""
    return {"prompts": _prompts(separate), **_results(separate)}


def _results(separate: "SeparateAV") -> Dict[str, Any]:
    """Return classes, corpus and scores, as far as they are on record."""
    from espnet2_avsep.sharing.results_file import summary

    path = Path(separate.train_config).parent / "RESULTS.md"
    if not path.is_file():
        return {
            "classes": list(separate.classes) or "not on record",
            "scores": "none: no RESULTS.md beside the model (stage 8 writes it)",
        }
    said = summary(path.read_text(encoding="utf-8", errors="replace"))
    scored: List[str] = []
    for rows in said["instruments"].values():
        scored += [r["instrument"] for r in rows if r["instrument"] not in scored]
    found: Dict[str, Any] = {
        "classes": list(separate.classes) or scored or "not on record",
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
    if said["weights"] and not _is_of(said["weights"], separate):
        found["warning"] = f"the scores are of other weights: {said['weights']}"
    return found


def _score(row: Dict[str, str], number: str) -> str:
    """Return the scores of a row in words."""
    names = ("SDR", "SDRi", "SIR", "SAR", "SI-SDR")
    values = [f"{name} {row[name]}" for name in names if row.get(name)]
    return f"{', '.join(values)} dB (n = {row.get(number, '?')})"


def _is_of(said: str, separate: "SeparateAV") -> bool:
    """Tell whether a line with a SHA-256 is of these weights.

    A packed model holds them in two formats, and names both checksums.
    """
    from espnet2_avsep.data.tables.yaml_file import read_mapping
    from espnet2_avsep.sharing.source import PACK_INFO

    packed = Path(separate.train_config).parent / PACK_INFO
    digests = [separate.weights_sha256]
    if packed.is_file():
        digests += map(str, (read_mapping(packed).get("sha256") or {}).values())
    return "SHA-256" not in said or any(digest in said for digest in digests)


def _prompts(separate: "SeparateAV") -> Dict[str, str]:
    """Say which prompts the model takes (yes), and why not the others (no: ...)."""
    from espnet2_avsep.errors import InputError
    from espnet2_avsep.visual.encoder_info import read_info, text_refusal

    path = Path(separate.train_config).parent / "visual_info.yaml"
    try:
        info = read_info(path)
    except InputError as error:
        return {"embedding": "yes", "picture": f"no: {error}", "text": f"no: {error}"}
    encoder = " ".join(
        str(info[key]) for key in ("encoder", "model", "weights") if key in info
    )
    refusal = text_refusal(path, info)
    pictures_only = separate.prompt_dim is None
    return {
        "picture": f"yes, encoded by {encoder}",
        "region": "yes, of a video or a picture",
        "embedding": "no: the model takes pictures" if pictures_only else "yes",
        "text": f"no: {refusal}" if refusal else "yes",
    }
