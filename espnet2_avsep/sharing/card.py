"""The page of a published model: what it is, how to use it, its scores and limits."""

import re
import shlex
from typing import Any, Dict, List, Optional

from espnet2_avsep.errors import InputError
from espnet2_avsep.metrics.markdown import markdown_table, plain
from espnet2_avsep.sharing.results_file import read_sections, summary

# The hub's word where the author has not chosen a licence.
NO_LICENCE = "other"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{1,39}")

_TAGS = ["espnet", "espnet2_avsep", "audio-visual", "sound-separation"]
_TAGS += ["source-separation"]
_TASK = "audio-to-audio"
# Columns of RESULTS.md that become metrics of the page, and the hub's names for them.
_METRICS = {"SDR": "sdr", "SIR": "sir", "SAR": "sar", "SI-SDR": "si_sdr"}
_INSTALL = """\
In a checkout of espnet2_avsep, with Python 3.10 to 3.12 (pip 26 and later refuse a
requirement of ESPnet):

```sh
pip install 'pip<26'
pip install -c constraints.txt .
```"""
_HFRA = """\
```bibtex
@inproceedings{hu2025hfra,
  title     = {Audio-Visual Separation with Hierarchical Fusion and Representation
               Alignment},
  author    = {Hu, Han and Lin, Dongheng and Huang, Qiming and Hou, Yuqi and
               Chang, Hyung Jin and Jiao, Jianbo},
  booktitle = {British Machine Vision Conference (BMVC)},
  year      = {2025}
}
```"""


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
    said = summary(results or "")
    fusion = (config.get("separator_conf") or {}).get("fusion", "")
    system = config.get("system") or f"{config.get('separator')} {fusion}".strip()
    is_hfra = "hfra" in system.lower()
    parts = [
        _metadata(repo_id, said, sections, licence),
        f"# {repo_id.partition('/')[2]}",
        "Give this model a recording in which several things sound at once, for "
        "example a duet, and a picture of each of them: it returns one track for each.",
        f"**{plain(said['note'])}**" if said["note"] else "",
        _facts(info, config, plain(system), said),
        "## Install",
        _INSTALL,
        "## Use",
        _usage(repo_id, config, info),
        "## Scores",
        _scores(said, results),
        "## Limits",
        _bullets(_limits(config, info)),
        "## Training data",
        _data(sections, results),
        "## Training",
        sections.get("Experiment") or "See config.yaml.",
        "## Protocol of the scores" if results is not None else "",
        _protocol(sections),
        "## Licence",
        f"Of the weights: {licence}."
        if licence
        else "Of the weights: not stated by their author; ask before you use them. "
        "(The program that made and runs them is Apache-2.0.)",
        "Recordings and pictures that it was trained on are not part of it, and have "
        "licences of their own.",
        "## Citation",
        f"Name the program, {plain(info['packed_by'])} (its CITATION.cff has the "
        "entry), and the paper of the method"
        + (":" if is_hfra else f" ({plain(system)})."),
        _HFRA if is_hfra else "",
        "## Files",
        _files(info),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


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
    return f"---\n{data.to_yaml()}\n---"


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


def _facts(
    info: Dict[str, Any], config: Dict[str, Any], system: str, said: Dict[str, Any]
) -> str:
    """Return the list of what one wants to know first."""
    classes: List[str] = [str(name) for name in config.get("classes") or []]
    for rows in said["instruments"].values():
        classes += [r["instrument"] for r in rows if r["instrument"] not in classes]
    facts = [
        f"What it separates: {plain(', '.join(classes))}" if classes else "",
        f"System: {system}, {info['parameters'] / 1e6:.1f} M weights",
        *(_headline(row) for row in said["scores"][:1]),
        f"Sound: {config['sample_rate']} Hz",
        f"Trained with [ESPnet](https://github.com/espnet/espnet) and "
        f"{plain(info['packed_by'])}",
    ]
    return "\n".join(f"* {fact}" for fact in facts if fact)


def _headline(row: Dict[str, str]) -> str:
    gain = f", {row['SDRi']} better than the mixture" if row.get("SDRi") else ""
    number = row.get("n") or row.get("scored")
    return (
        f"Score on the set {plain(row['set'])}: SDR {plain(row.get('SDR', '?'))} dB"
        f"{plain(gain)} (mean over {plain(str(number))} sources)"
    )


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
    files = ["violin.jpg", "tuba.jpg"]
    if encoder.get("encoder") == "precomputed":
        files = ["violin.npy", "tuba.npy"]
    asked = " ".join(f"--query {name}" for name in files)
    return (
        f"```sh\navsep separate duet.mp4 {asked} --model {repo_id}\n```\n\n"
        "writes a sound file and a video for each query, and a page to listen to them. "
        "In Python:\n\n"
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
    parts = [sections.get("Corpus", "")]
    left_out = sections.get("Clips left out before scoring", "")
    if left_out:
        parts += ["Clips that were left out:", left_out]
    return "\n\n".join(part for part in parts if part)


def _scores(said: Dict[str, Any], results: Optional[str]) -> str:
    """Return the tables of scores: of the sets, and by instrument of each set."""
    if results is None:
        return "None: the model was packed without RESULTS.md."
    if not said["scores"]:
        return "None."
    parts = [
        "Means over all scored sources, in dB; SDRi is the improvement over the "
        "mixture, with its 95 % interval where one is given.",
        _table(said["scores"]),
    ]
    for row in said["scores"]:
        if rows := said["instruments"].get(row["set"]):
            parts += [f"By instrument, {plain(row['set'])}:", _table(rows)]
    return "\n\n".join(parts)


def _table(rows: List[Dict[str, str]]) -> str:
    names = list(rows[0])
    return markdown_table([names, *([row.get(n, "") for n in names] for row in rows)])


def _protocol(sections: Dict[str, str]) -> str:
    """Say how the scores of each set were made."""
    parts = []
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


def _files(info: Dict[str, Any]) -> str:
    lines = [f"{name}: SHA-256 `{digest}`" for name, digest in info["sha256"].items()]
    teacher = info["teacher"]
    if teacher.get("teacher"):
        words = ", ".join(f"{key}: {value}" for key, value in teacher.items())
        lines.append(f"The teacher of its training is not part of it ({words}).")
    return _bullets(lines)


def _bullets(lines: List[str]) -> str:
    return "\n".join(f"* {plain(line)}" for line in lines)
