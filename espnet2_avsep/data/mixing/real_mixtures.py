"""Real mixtures, recorded as such: a segment of each, and what prompts its sources.

There are no references, so they are separated and listened to, not scored. A duet's two
players are in one picture; two ways of prompting need no detector:

* class_mean: source n is prompted by the mean embedding of the training clips of the
  duet's n-th instrument (each clip's rows are averaged first, so that long clips count
  as much as short ones);
* halves: source 1 is prompted by the left half of the picture, source 2 by the right
  half; which instrument stands where is not known.
"""

import hashlib
import logging
from collections import Counter
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from espnet2_avsep.data.audio.wav_writer import write_float_wav
from espnet2_avsep.data.clip_filter import (
    Clip,
    Limits,
    check_clip,
    count_clips,
    read_source,
)
from espnet2_avsep.data.features import write_ark
from espnet2_avsep.data.records.content import content_of, write_content
from espnet2_avsep.data.records.made_from import (
    begin_record,
    check_folder,
    check_unchanged,
    make_record,
    write_record,
)
from espnet2_avsep.data.records.output_folder import protect
from espnet2_avsep.data.records.source_check import check_sources
from espnet2_avsep.data.segment_reader import (
    matrix_shape,
    nearest_row,
    read_matrix,
    read_row,
    read_segment,
)
from espnet2_avsep.data.tables.clip_folder import read_clip_tables
from espnet2_avsep.data.tables.clip_id import category_key, file_stem
from espnet2_avsep.data.tables.scp import (
    PathLike,
    Skipped,
    read_scp,
    read_skipped,
    write_file,
    write_scp,
    write_skipped,
)
from espnet2_avsep.data.tables.tsv import format_tsv
from espnet2_avsep.data.tables.yaml_file import write_yaml
from espnet2_avsep.errors import InputError

STAGE = "real mixtures"
PROMPTS = ("class_mean", "halves")
TABLE = "real_mixtures.tsv"
COLUMNS = ("mix_id", "spk1", "spk2", "prompt1", "prompt2", "start")


def make_real_mixtures(
    data_dir: PathLike,
    wav_dir: PathLike,
    output_dir: PathLike,
    limits: Limits,
    prompts: str = "class_mean",
    train_dir: Optional[PathLike] = None,
    visual_dirs: Sequence[PathLike] = (),
) -> Dict:
    """Write the centre segment of every duet, and one embedding for each player.

    Args:
        data_dir: Stage 1: utt2pair (clip -> its instruments), skipped.tsv.
        wav_dir: Stage 3: wav.scp, utt2num_samples, skipped.tsv.
        output_dir: Gets wav.scp, visual_spk{n}.scp, real_mixtures.tsv, its SHA-256 in
            mixtures.sha256, skipped.tsv, data/, counts.yaml and, last, made_from.json.
        limits: What a clip must be like.
        prompts: "class_mean" or "halves".
        train_dir: Stage 4 of the training set: utt2spk, visual_spk1.scp (class_mean).
        visual_dirs: Stage 2 of each part of the picture, in the order of the sources:
            visual.scp, visual_skipped.tsv (halves).

    Returns:
        The content of counts.yaml: as of filter_clips, and ``real``: how it was made.

    Raises:
        InputError: tables that do not fit one another; nothing is left.
    """
    data_dir, wav_dir, output_dir = Path(data_dir), Path(wav_dir), Path(output_dir)
    names = ("wav.scp", "skipped.tsv")
    inputs = [folder / name for folder in (data_dir, wav_dir) for name in names]
    protect([output_dir / name for name in names], inputs)
    check_folder(output_dir, 4)
    if prompts not in PROMPTS:
        raise InputError(f"--prompts {prompts}: expected {' or '.join(PROMPTS)}.")
    pairs = {k: v.split() for k, v in read_scp(data_dir / "utt2pair").items()}
    wavs = read_scp(wav_dir / "wav.scp", allow_empty=True)
    lengths = read_scp(wav_dir / "utt2num_samples", allow_empty=True)
    skipped = read_skipped(data_dir / "skipped.tsv")
    listed = set(pairs) | {row.key for row in skipped}
    skipped += [r for r in read_skipped(wav_dir / "skipped.tsv") if r.key in pairs]
    if prompts == "class_mean":
        if train_dir is None:
            raise InputError("--prompts class_mean: give --train_dir.")
        means = class_means(
            Path(train_dir), {c for pair in pairs.values() for c in pair}
        )
        tables: List[Dict[str, str]] = []
    else:
        means = {}
        tables = [read_scp(Path(d) / "visual.scp", True) for d in visual_dirs]
        if len(tables) < 2:
            raise InputError(
                "--prompts halves: give --visual_dir once for each source."
            )
        for folder in visual_dirs:
            rows = read_skipped(Path(folder) / "visual_skipped.tsv")
            skipped += [row for row in rows if row.key in pairs]
    left_out = {row.key for row in skipped}
    read = {str(d): Path(d) / "visual.scp" for d in visual_dirs if tables}
    wanted = sorted(set(pairs) - left_out, key=str.encode)
    check_sources(data_dir, {"wav": wav_dir / "wav.scp", **read}, wanted)
    check_unchanged(wav_dir / "wav.scp", 3, wanted)
    for path in read.values():
        check_unchanged(path, 2, wanted)

    kept: Dict[str, Tuple[int, List[np.ndarray]]] = {}
    for key in wanted:
        if key not in wavs or any(key not in table for table in tables):
            raise InputError(
                f"{key} of {data_dir / 'utt2pair'} is neither in the tables of the "
                "stages since nor listed as skipped. Run stages 2 and 3 again."
            )
        num_samples = int(lengths[key])
        shapes = [matrix_shape(table[key]) for table in tables] or [(1, 1)]
        clip = Clip(wavs[key], "", num_samples, min(shapes))
        reason = check_clip(clip, limits)[0]
        reason = reason or _no_prompt(pairs[key], means, prompts)
        if reason is not None:
            skipped.append(Skipped(key, STAGE, reason))
            continue
        start = (num_samples - limits.segment_samples) // 2
        if prompts == "class_mean":
            embeddings = [means[category_key(name)] for name in pairs[key]]
        else:
            span = start, limits.segment_samples, num_samples
            embeddings = [
                read_row(table[key], nearest_row(*span, shape[0]))
                for table, shape in zip(tables, shapes, strict=True)
            ]
        kept[key] = (start, embeddings)
    counts = count_clips(kept, skipped, listed)
    counts.update(read_source(data_dir / "source.yaml"))
    counts["real"] = {
        "prompts": prompts,
        "segment_samples": limits.segment_samples,
        "fs": limits.fs,
    }
    begin_record(output_dir, 4)
    (output_dir / "counts.yaml").unlink(missing_ok=True)
    write_skipped(output_dir / "skipped.tsv", skipped)
    if not kept:
        raise InputError(
            f"{output_dir}: none of the {len(listed)} real mixtures is left; reasons: "
            f"{counts['skipped']} (listed in {output_dir / 'skipped.tsv'})."
        )
    _write(output_dir, kept, pairs, wavs, limits, prompts)
    write_yaml(output_dir / "counts.yaml", counts)
    read["sound"] = wav_dir / "wav.scp"
    files = {"pairs": data_dir / "utt2pair"}
    if prompts == "class_mean":
        read["training pictures"] = Path(train_dir) / "visual_spk1.scp"
        files["training classes"] = Path(train_dir) / "utt2spk"
    write_record(output_dir, make_record(4, read, files, counts["real"]))
    logging.info("%d of %d real mixtures, prompts: %s", len(kept), len(listed), prompts)
    return counts


def class_means(train_dir: Path, categories: set) -> Dict[str, np.ndarray]:
    """Return the mean embedding of each category's training clips.

    Args:
        train_dir: Holds utt2spk and visual_spk1.scp.
        categories: Their names; those that no training clip has are left out.

    Returns:
        Category as in tables -> (D,), float32.
    """
    category, visual = read_clip_tables(train_dir, "utt2spk", "visual_spk1.scp")
    wanted = {category_key(name) for name in categories}
    sums: Dict[str, np.ndarray] = {}
    number: Counter = Counter()
    for key in sorted(visual, key=str.encode):
        name = category[key]
        if name in wanted:
            mean = read_matrix(visual[key]).mean(axis=0, dtype=np.float64)
            sums[name] = sums.get(name, 0.0) + mean
            number[name] += 1
    return {name: (sums[name] / number[name]).astype(np.float32) for name in sums}


def _no_prompt(
    pair: Sequence[str], means: Mapping[str, np.ndarray], prompts: str
) -> Optional[str]:
    if prompts != "class_mean":
        return None
    unknown = [name for name in pair if category_key(name) not in means]
    return f"no training clip of: {', '.join(unknown)}" if unknown else None


def _write(
    output_dir: Path,
    kept: Mapping[str, Tuple[int, List[np.ndarray]]],
    pairs: Mapping[str, Sequence[str]],
    wavs: Mapping[str, str],
    limits: Limits,
    prompts: str,
) -> None:
    data = output_dir / "data"
    table, content = {}, hashlib.sha256()
    lines = []
    for key, (start, _) in kept.items():
        segment = read_segment(wavs[key], start, limits.segment_samples)
        table[key] = str(data / "wav" / f"{file_stem(key)}.wav")
        write_float_wav(Path(table[key]), segment, limits.fs)
        content.update(segment.tobytes())
        names = pairs[key] if prompts == "class_mean" else ("left half", "right half")
        lines.append((key, *pairs[key], *names, start))
    for n, name in enumerate(("visual_spk1", "visual_spk2")):
        rows = {key: embeddings[n][None] for key, (_, embeddings) in kept.items()}
        write_ark(output_dir / f"{name}.scp", data / f"{name}.ark", rows.items())
        for row in rows.values():
            content.update(row.tobytes())
    text = format_tsv(COLUMNS, lines)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_file(output_dir / TABLE, text)
    write_file(output_dir / "mixtures.sha256", f"{digest}  {TABLE}\n")
    write_file(data / "state.sha256", f"{content.hexdigest()}\n")
    scp = output_dir / "wav.scp"
    write_content(scp, content_of(table, scp, whole=True))
    write_scp(scp, table)
