"""The page of a published model: what it is, how to use it, its scores and limits."""

import re
import shlex
from typing import Any, Dict, List, Optional

from espnet2_avsep.errors import InputError
from espnet2_avsep.report.render import render
from espnet2_avsep.sharing.results_file import read_sections, summary

# The hub's word where the author has not chosen a licence.
NO_LICENCE = "other"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{1,39}")

_TAGS = ["espnet", "espnet2_avsep", "audio-visual", "sound-separation"]
_TAGS += ["source-separation"]
_TASK = "audio-to-audio"
# Columns of RESULTS.md that become metrics of the page, and the hub's names for them.
_METRICS = {"SDR": "sdr", "SIR": "sir", "SAR": "sar", "SI-SDR": "si_sdr"}


def model_card(
    repo_id: str,
    info: Dict[str, Any],
    config: Dict[str, Any],
    results: Optional[str],
    licence: str = "",
) -> str:
    """Write the README.md of a model's repository.

    Args:
        repo_id: Its name, user/name.
        info: pack_info.yaml.
        config: config.yaml of the training.
        results: RESULTS.md; None where the model was packed without scores.
        licence: Of the weights, as the hub names it, e.g. "cc-by-4.0"; empty: not
            stated.

    Raises:
        InputError: the licence is no such name.
    """
    if licence and not _LICENCE.fullmatch(licence):
        raise InputError(
            f"--hf_license {licence!r}: expected the hub's name of a licence, small "
            "letters, digits, '-' and '.', e.g. apache-2.0, cc-by-4.0, cc-by-nc-4.0."
        )
    sections, said = read_sections(results or ""), summary(results or "")
    encoder, teacher = info["visual_encoder"], info["teacher"]
    fusion = (config.get("separator_conf") or {}).get("fusion", "")
    classes: List[str] = [str(name) for name in config.get("classes") or []]
    for rows in said["instruments"].values():
        classes += [r["instrument"] for r in rows if r["instrument"] not in classes]
    return render(
        "card.md.j2",
        metadata=_metadata(repo_id, said, sections, licence),
        name=repo_id.partition("/")[2],
        repo_id=repo_id,
        info=info,
        config=config,
        system=config.get("system") or f"{config.get('separator')} {fusion}".strip(),
        classes=classes,
        encoder=encoder,
        embeds=encoder.get("encoder") == "precomputed",
        is_random=_is_random(encoder),
        said=said,
        sections=sections,
        scored=results is not None,
        protocols=_protocols(sections),
        limits=_limits(config, encoder),
        licence=licence,
        teacher=", ".join(f"{key}: {value}" for key, value in teacher.items()),
    )


def _metadata(
    repo_id: str, said: Dict[str, Any], sections: Dict[str, str], licence: str
) -> str:
    """Return the YAML head, with the scores as the hub's evaluation results."""
    from huggingface_hub import EvalResult, ModelCardData

    corpus = _corpus(sections)
    scores = [
        EvalResult(
            task_type=_TASK,
            task_name="Audio-visual sound source separation",
            dataset_type=corpus,
            dataset_name=corpus,
            dataset_split=row["set"],
            metric_type=name,
            metric_name=f"{column} in dB",
            metric_value=float(row[column]),
        )
        for row in said["scores"]
        for column, name in _METRICS.items()
        if _is_number(row.get(column, ""))
    ]
    data = ModelCardData(
        license=licence or NO_LICENCE,
        license_name=None if licence else "not-stated",
        library_name="espnet",
        pipeline_tag=_TASK,
        tags=_TAGS,
        metrics=sorted({score.metric_type for score in scores}) or None,
        model_name=repo_id.partition("/")[2] if scores else None,
        eval_results=scores or None,
    )
    return data.to_yaml()


def _corpus(sections: Dict[str, str]) -> str:
    """Return the corpus's name, as the command of the training states it."""
    for line in sections.get("Command", "").splitlines():
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        if "--corpus" in words[:-1]:
            name = words[words.index("--corpus") + 1]
            if re.fullmatch(r"[\w.-]{1,80}", name):
                return name
    return "unknown"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def _protocols(sections: Dict[str, str]) -> Dict[str, str]:
    """Return how the scores of each set were made, and the environment."""
    found = {
        name: "\n".join(x for x in text.splitlines() if x.startswith("* "))
        for name, text in sections.items()
        if "SHA-256 of mixtures.tsv" in text
    }
    if sections.get("Environment"):
        found["Environment"] = sections["Environment"]
    return found


def _is_random(encoder: Dict[str, Any]) -> bool:
    return encoder.get("pretrained") == "random"


def _limits(config: Dict[str, Any], encoder: Dict[str, Any]) -> List[str]:
    fs = config["sample_rate"]
    sources = (config.get("dataset_conf") or {}).get("num_sources", 2)
    limits = [
        f"It works at {fs} Hz: recordings at other rates are resampled, and tracks "
        f"hold nothing above {fs / 2:g} Hz. Masks are made from the mean of the "
        "channels.",
        f"It was trained on mixtures of {sources} sources.",
        "Sounds and things that its data do not hold have not been tried.",
    ]
    kind = encoder.get("encoder")
    if kind == "frames":
        limits.append("Prompts are pictures; it takes no embeddings and no words.")
    elif kind != "precomputed":
        if _is_random(encoder):
            limits.append(
                f"**Its pictures were encoded by a randomly initialised {kind}, not by "
                "a trained one**: it takes no words, and pictures that are unlike "
                "those of its training data do not work."
            )
        limits.append(
            f"The encoder of the pictures ({kind} {encoder.get('model')}, "
            f"{encoder.get('pretrained')}) is not part of it: it is made, or fetched "
            f"by its name, when a picture comes, and its weights are compared with "
            f"`{encoder.get('weights')}`."
        )
    else:
        limits.append("What made its embeddings is not part of it.")
    return limits
