"""The page of a published model: what it is, how to use it, its scores and limits."""

import re
from typing import Any, Dict, List, Optional

from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import plain
from espnet2_avsep.sharing.results_file import read_sections

# The hub's word where the author has not chosen a licence.
NO_LICENCE = "other"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{1,39}")

_HEAD = """\
---
license: {licence}
library_name: espnet
pipeline_tag: audio-to-audio
tags:
- espnet
- espnet2_avsep
- audio-visual
- sound-separation
- source-separation
---
"""


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
    sections = read_sections(results or "")
    fusion = (config.get("separator_conf") or {}).get("fusion", "")
    system = config.get("system") or f"{config.get('separator')} {fusion}".strip()
    system = plain(system)
    parts = [
        _HEAD.format(licence=licence or NO_LICENCE),
        f"# {repo_id.partition('/')[2]}",
        f"Audio-visual sound separation: a recording of several things, and a picture "
        f"of each, to one track a thing. System: {system}, "
        f"{info['parameters'] / 1e6:.1f} M weights; trained with [ESPnet]"
        f"(https://github.com/espnet/espnet) and {info['packed_by']}.",
        "## How to use",
        _usage(repo_id, config, info),
        "## Data",
        _data(sections, results),
        "## Scores and protocol",
        _scores(sections, results),
        "## Training",
        sections.get("Experiment") or "See config.yaml.",
        "## Limits",
        _bullets(_limits(config, info)),
        "## Licence",
        f"Of the weights: {licence}."
        if licence
        else "Of the weights: not stated by their author; ask before you use them. "
        "(The program that made and runs them is Apache-2.0.)",
        "Recordings and pictures that it was trained on are not part of it, and have "
        "licences of their own.",
        "## What is here",
        _files(info),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _usage(repo_id: str, config: Dict[str, Any], info: Dict[str, Any]) -> str:
    encoder = info["visual_encoder"]
    prompts = '["violin.jpg", "tuba.jpg"]'
    remark = "A prompt is a picture: a path, a PIL image or an array."
    if encoder.get("encoder") == "precomputed":
        prompts = "[violin, tuba]"
        remark = (
            f"A prompt is an embedding of {encoder.get('dim')} values of the making "
            f"that the model was trained on ({plain(encoder.get('file', 'features'))}),"
            " which the model does not come with."
        )
    elif encoder.get("encoder") == "open_clip" and not _is_random(encoder):
        remark += (
            " Words are prompts, too: `Text('violin')`, with "
            "`from espnet2_avsep import Text`."
        )
    return (
        "```python\n"
        "import soundfile\n"
        "from espnet2_avsep import SeparateAV\n\n"
        'mixture, fs = soundfile.read("mixture.wav", dtype="float32", '
        "always_2d=True)\n"
        f'separate = SeparateAV.from_pretrained("{repo_id}")\n'
        f"first, second = separate(mixture.T, {prompts}, fs=fs)\n"
        "```\n\n"
        f"{remark} In a recipe of the package, `./run.sh --stage 7 --stop_stage 8 "
        f"--download_model {repo_id}` separates and scores the recipe's test mixtures."
    )


def _data(sections: Dict[str, str], results: Optional[str]) -> str:
    if results is None:
        return "Not on record: the model was packed without RESULTS.md."
    parts = [sections[""], sections.get("Corpus", "")]
    left_out = sections.get("Clips left out before scoring", "")
    if left_out:
        parts += ["Clips that were left out:", left_out]
    return "\n\n".join(part for part in parts if part)


def _scores(sections: Dict[str, str], results: Optional[str]) -> str:
    """Return the table of scores, and how those of each set were made."""
    if results is None:
        return "None: the model was packed without RESULTS.md."
    parts = [sections.get("Scores", "None.")]
    for name, text in sections.items():
        if "SHA-256 of mixtures.tsv" in text:
            head = "\n".join(x for x in text.splitlines() if x.startswith("* "))
            parts.append(f"### {plain(name)}\n\n{head}")
    environment = sections.get("Environment")
    if environment:
        parts.append(f"### Environment\n\n{environment}")
    return "\n\n".join(parts)


def _is_random(encoder: Dict[str, Any]) -> bool:
    return encoder.get("pretrained") == "random"


def _limits(config: Dict[str, Any], info: Dict[str, Any]) -> List[str]:
    fs = config["sample_rate"]
    encoder = info["visual_encoder"]
    sources = (config.get("dataset_conf") or {}).get("num_sources", 2)
    limits = [
        f"It works at {fs} Hz: recordings at other rates are resampled, and tracks "
        f"hold nothing above {fs / 2:g} Hz. Channels are averaged to one.",
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
                "a trained one**: words say nothing to it, and pictures unlike those "
                "of its data little."
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


def _files(info: Dict[str, Any]) -> str:
    lines = [f"{name}: SHA-256 `{digest}`" for name, digest in info["sha256"].items()]
    teacher = info["teacher"]
    if teacher.get("teacher"):
        words = ", ".join(f"{key}: {value}" for key, value in teacher.items())
        lines.append(f"The teacher of its training is not part of it ({words}).")
    return _bullets(lines)


def _bullets(lines: List[str]) -> str:
    return "\n".join(f"* {plain(line)}" for line in lines)
