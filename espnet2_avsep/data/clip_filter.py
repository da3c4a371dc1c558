"""The clips of a set that can be used, and why the others cannot."""

import logging
from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import soundfile

from espnet2_avsep.data.audio.levels import Level, measure, write_levels
from espnet2_avsep.data.conditions import MOTION, WITH_ROWS, with_rows
from espnet2_avsep.data.mixing import same_video
from espnet2_avsep.data.records.content import copy_content
from espnet2_avsep.data.records.made_from import (
    begin_record,
    check_folder,
    check_unchanged,
    make_record,
    write_record,
)
from espnet2_avsep.data.records.output_folder import protect
from espnet2_avsep.data.records.source_check import check_sources
from espnet2_avsep.data.segment_reader import matrix_shape
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import (
    PathLike,
    Skipped,
    read_scp,
    read_skipped,
    write_file,
    write_scp,
    write_skipped,
)
from espnet2_avsep.data.tables.yaml_file import read_yaml, write_yaml
from espnet2_avsep.errors import InputError

STAGE = "filter"


class Limits(NamedTuple):
    """What a clip must be like to be kept.

    Attributes:
        fs: Sampling rate in Hz that every file must have.
        segment_samples: Least number of samples.
        min_wav_duration: Least duration in s.
        max_wav_duration: Greatest duration in s; None: no limit.
        silence_dbfs: Least RMS of the whole clip (dB, full scale = 0 dB).
    """

    fs: int
    segment_samples: int = 65280
    min_wav_duration: float = 0.0
    max_wav_duration: Optional[float] = None
    silence_dbfs: float = -60.0


class Clip(NamedTuple):
    """A clip that is kept.

    Attributes:
        rows: Stem of a condition -> matrix of its rows, and the matrix's shape.
    """

    wav: str
    visual: str
    num_samples: int
    visual_shape: Tuple[int, ...]
    rows: Mapping[str, Tuple[str, Tuple[int, ...]]] = {}


def filter_clips(
    data_dir: PathLike,
    wav_dir: PathLike,
    visual_dir: PathLike,
    output_dir: PathLike,
    limits: Limits,
    motion_dir: Optional[PathLike] = None,
    condition_dirs: Optional[Mapping[str, PathLike]] = None,
) -> Dict:
    """Join the tables of stages 1 to 3, drop what cannot be used, write stage 4's.

    The number of visual rows is taken from the matrices' headers, not from
    ``visual_shape``: for a training set that file is both stage 2's and ours.

    Args:
        data_dir: Stage 1: utt2spk, skipped.tsv, perhaps source.yaml and utt2video.
        wav_dir: Stage 3: wav.scp, utt2num_samples, skipped.tsv.
        visual_dir: Stage 2: visual.scp, visual_skipped.tsv.
        output_dir: Gets wav.scp, spk1.scp, visual_spk1.scp, utt2spk, spk2utt,
            utt2num_samples, visual_shape, levels.tsv (of every clip whose samples were
            looked at, kept or not), skipped.tsv, utt2video where clips that are kept
            share a video, the tables' contents
            (data/records/content.py), counts.yaml and, last, made_from.json.
        limits: What is kept.
        motion_dir: The same as the entry "motion" of condition_dirs.
        condition_dirs: Stem of a condition with rows (data/conditions.py) -> stage 2:
            <stem>.scp, <stem>_skipped.tsv. Then clips without these rows are dropped,
            and output_dir gets <stem>_spk1.scp, too.

    Returns:
        The content of counts.yaml: ``listed`` = ``kept`` + ``left_out`` clips, and
        ``skipped``, stage -> reason -> number. A clip that several stages left out is
        counted by each of them there. ``source`` is what stage 1 says of the set's
        list, see :func:`read_source`.

    Raises:
        InputError: a clip is neither usable nor listed as skipped, or is both; nothing
            is left; sampling rates or embedding widths disagree; a file of the corpus
            has changed since it was read, or one of stages 2 and 3 since it was
            written.
    """
    data_dir, wav_dir = Path(data_dir), Path(wav_dir)
    visual_dir, output_dir = Path(visual_dir), Path(output_dir)
    names = ("utt2spk", "wav.scp", "skipped.tsv")
    inputs = [folder / name for folder in (data_dir, wav_dir) for name in names]
    protect([output_dir / name for name in names], inputs)
    check_folder(output_dir, 4)
    category = read_scp(data_dir / "utt2spk", allow_empty=True)
    first = read_skipped(data_dir / "skipped.tsv")
    listed = set(category) | {row.key for row in first}
    earlier = first + _skips_of(listed, wav_dir / "skipped.tsv")
    earlier += _skips_of(listed, visual_dir / "visual_skipped.tsv")
    paths = {
        "wav": wav_dir / "wav.scp",
        "num_samples": wav_dir / "utt2num_samples",
        "visual": visual_dir / "visual.scp",
    }
    folders = dict(condition_dirs or {})
    if motion_dir is not None:
        folders[MOTION.stem] = motion_dir
    stems = with_rows(folders)
    for stem in stems:
        earlier += _skips_of(listed, Path(folders[stem]) / f"{stem}_skipped.tsv")
        paths[stem] = Path(folders[stem]) / f"{stem}.scp"
    tables = {name: read_scp(path, allow_empty=True) for name, path in paths.items()}
    candidates = _candidates(category, earlier, tables, data_dir, paths)
    scps = {name: path for name, path in paths.items() if name != "num_samples"}
    check_sources(data_dir, scps, candidates)
    for name, path in scps.items():
        check_unchanged(path, 3 if name == "wav" else 2, candidates)
    logging.info(f"{len(listed)} clips listed, {len(candidates)} to be checked")

    kept: Dict[str, Clip] = {}
    levels: Dict[str, Level] = {}
    skipped: List[Skipped] = list(earlier)
    for n, key in enumerate(candidates, 1):
        clip = Clip(
            tables["wav"][key],
            tables["visual"][key],
            _number(wav_dir / "utt2num_samples", key, tables["num_samples"][key]),
            matrix_shape(tables["visual"][key]),
            {s: (tables[s][key], matrix_shape(tables[s][key])) for s in stems},
        )
        reason, level = check_clip(clip, limits)
        if level is not None:
            levels[key] = level
        if reason is None:
            kept[key] = clip
        else:
            skipped.append(Skipped(key, STAGE, reason))
        if n % 1000 == 0 or n == len(candidates):
            logging.info(f"{n}/{len(candidates)} clips checked, {len(kept)} kept")

    counts = count_clips(kept, skipped, listed)
    counts.update(read_source(data_dir / "source.yaml"))
    begin_record(output_dir, 4)
    # counts.yaml is there only while the tables beside it belong together.
    (output_dir / "counts.yaml").unlink(missing_ok=True)
    write_skipped(output_dir / "skipped.tsv", skipped)
    write_levels(output_dir / "levels.tsv", levels)
    if not kept:
        raise InputError(
            f"{output_dir}: none of the {len(listed)} clips of {data_dir} is left. "
            f"Reasons: {counts['skipped'] or 'stage 1 listed no clip'}. The clips are "
            f"listed in {output_dir / 'skipped.tsv'}."
        )
    check_widths({k: (clip.visual, clip.visual_shape) for k, clip in kept.items()})
    for stem in stems:
        check_widths({k: clip.rows[stem] for k, clip in kept.items()})
    _write_tables(output_dir, kept, category, stems)
    files = {"classes": data_dir / "utt2spk"}
    if same_video.copy_videos(data_dir, output_dir, kept):
        files["videos"] = data_dir / same_video.TABLE
    for name, path in scps.items():
        for table in ("wav", "spk1") if name == "wav" else (f"{name}_spk1",):
            copy_content(path, output_dir / f"{table}.scp", kept)
    for stem in ("visual", *stems):
        name = f"{stem}_info.yaml"
        _copy_info(paths[stem].parent / name, output_dir / name)
    write_yaml(output_dir / "counts.yaml", counts)
    write_record(output_dir, make_record(4, scps, files, limits._asdict()))
    _log_summary(kept, listed, category)
    return counts


def check_clip(clip: Clip, limits: Limits) -> Tuple[Optional[str], Optional[Level]]:
    """Check one clip; its samples are read only where its header is as it should be.

    Returns:
        Why it cannot be used, "kind: details" (None: it can), and its level (None: its
        samples were not read to the end).

    Raises:
        InputError: the file is not mono or has another sampling rate: then stage 3 ran
            with other options, and no clip would be right.
    """
    if min(clip.visual_shape) < 1:
        return "no visual rows", None
    for stem, (_, shape) in clip.rows.items():
        if min(shape) < 1:
            return f"no {stem} rows", None
    try:
        with soundfile.SoundFile(clip.wav) as f:
            reason = _check_header(clip, limits, f)
            if reason is not None:
                return reason, None
            num_read, level = measure(f)
    except (soundfile.SoundFileError, OSError) as error:
        return f"unreadable audio file: {error}", None
    if level is None:
        return "NaN or infinite samples", None
    if num_read != clip.num_samples:
        return (
            f"damaged audio file: {num_read} of {clip.num_samples} samples readable",
            None,
        )
    if level.rms_dbfs < limits.silence_dbfs:
        return (
            f"silent: RMS {level.rms_dbfs:.1f} dB, {limits.silence_dbfs:g} dB needed",
            level,
        )
    return None, level


def _check_header(clip: Clip, limits: Limits, f: soundfile.SoundFile) -> Optional[str]:
    """Return why a clip cannot be used, as far as its header tells.

    Raises:
        InputError: see check_clip.
    """
    if f.samplerate != limits.fs or f.channels != 1:
        raise InputError(
            f"{clip.wav}: {f.samplerate} Hz, {f.channels} channel(s); expected "
            f"{limits.fs} Hz, 1 channel. Run stage 3 again with --fs {limits.fs}."
        )
    if f.frames != clip.num_samples:
        return (
            f"damaged audio file: {f.frames} samples, utt2num_samples says "
            f"{clip.num_samples}"
        )
    seconds = f.frames / limits.fs
    if f.frames < limits.segment_samples:
        return (
            f"shorter than a segment: {f.frames} samples, "
            f"{limits.segment_samples} needed"
        )
    if seconds < limits.min_wav_duration:
        return (
            f"shorter than min_wav_duration: {seconds:.2f} s, "
            f"{limits.min_wav_duration:g} s needed"
        )
    if limits.max_wav_duration is not None and seconds > limits.max_wav_duration:
        return (
            f"longer than max_wav_duration: {seconds:.2f} s, "
            f"{limits.max_wav_duration:g} s allowed"
        )
    return None


def count_clips(
    kept: Iterable[str], skipped: Iterable[Skipped], listed: Iterable[str]
) -> Dict:
    """Count clips, and check that none was lost or counted twice.

    Args:
        kept: Clips that are kept.
        skipped: Clips that are left out, with the reasons.
        listed: All clips there were at first.

    Returns:
        See filter_clips.

    Raises:
        InputError: ``kept`` and ``skipped`` are not a partition of ``listed``.
    """
    kept, listed = set(kept), set(listed)
    rows = set(skipped)
    left_out = {row.key for row in rows}
    both = sorted(kept & left_out)
    if both:
        raise InputError(
            f"{len(both)} clips are usable and yet listed as skipped: {shorten(both)}. "
            "The tables are of different runs; run the stages from the first again."
        )
    lost = sorted(listed ^ (kept | left_out))
    if lost:
        raise InputError(
            f"{len(lost)} clips are neither kept nor listed as skipped, or were never "
            f"listed: {shorten(lost)}. Run the stages from the first again."
        )
    reasons: Dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        reasons[row.stage][row.reason.split(": ", 1)[0]] += 1
    return {
        "listed": len(listed),
        "kept": len(kept),
        "left_out": len(left_out),
        "skipped": {
            stage: dict(sorted(counter.items()))
            for stage, counter in sorted(reasons.items())
        },
    }


def read_source(path: PathLike) -> Dict:
    """Read what is known of a set's list.

    Args:
        path: source.yaml of stage 1, or the counts.yaml of a step since then.

    Returns:
        {"source": its content}; nothing where there is none.
    """
    content = read_yaml(path)
    if Path(path).name != "source.yaml":
        content = content.get("source")
    return {"source": content} if content else {}


def _skips_of(listed: Iterable[str], path: Path) -> List[Skipped]:
    """Read a later stage's skipped clips; those that are no longer listed are stale."""
    rows = read_skipped(path)
    wanted = [row for row in rows if row.key in listed]
    if len(wanted) < len(rows):
        logging.warning(
            f"{path}: {len(rows) - len(wanted)} rows are of clips that stage 1 does "
            "not list; they are passed over"
        )
    return wanted


def _candidates(
    category: Mapping[str, str],
    earlier: List[Skipped],
    tables: Mapping[str, Mapping[str, str]],
    data_dir: Path,
    paths: Mapping[str, Path],
) -> List[str]:
    """Return the clips that no earlier stage left out; all their files must be listed.

    Raises:
        InputError: a clip is missing in a table although no stage left it out.
    """
    left_out = {row.key for row in earlier}
    candidates = []
    for key in category:
        missing = [name for name, table in tables.items() if key not in table]
        if not missing:
            candidates.append(key)
        elif key not in left_out:
            lost = [
                k for k in category if k not in tables[missing[0]] and k not in left_out
            ]
            raise InputError(
                f"{paths[missing[0]]} lacks {len(lost)} clips of "
                f"{data_dir / 'utt2spk'} that no "
                f"stage listed as skipped: {shorten(lost)}. Run stages 2 and 3 again; "
                "they have not been finished, or were run on another list."
            )
    for name, table in tables.items():
        extra = len(set(table) - set(category))
        if extra:
            logging.warning(
                f"{extra} clips of the {name} table are not in {data_dir / 'utt2spk'}; "
                "they are passed over"
            )
    return sorted(candidates)


def _number(path: Path, key: str, value: str) -> int:
    if not value.isdecimal():
        raise InputError(
            f"{path}: {key} has {value!r}, a number of samples was expected. Run stage "
            "3 again."
        )
    return int(value)


def check_widths(matrices: Mapping[str, Tuple[str, Tuple[int, ...]]]) -> None:
    """Check that the matrices (reference, shape) of all clips have rows of one size.

    Raises:
        InputError: they do not.
    """
    first, (ref, expected) = next(iter(matrices.items()))
    for key, (other, shape) in matrices.items():
        if shape[1:] != expected[1:]:
            raise InputError(
                f"the embeddings of {first} have {_size(expected)} values, those of "
                f"{key} {_size(shape)} ({ref}, {other}); all must come from one "
                "encoder; remove these features and run stage 2 again."
            )


def _size(shape: Tuple[int, ...]) -> str:
    """Size of a row: "512", or "3 x 268 x 268" of packed frames."""
    return " x ".join(map(str, shape[1:]))


def _write_tables(
    output_dir: Path,
    kept: Mapping[str, Clip],
    category: Mapping[str, str],
    stems: Sequence[str],
) -> None:
    members = defaultdict(list)
    for key in sorted(kept, key=str.encode):
        members[category[key]].append(key)
    wav = {key: clip.wav for key, clip in kept.items()}
    write_scp(output_dir / "wav.scp", wav)
    write_scp(output_dir / "spk1.scp", wav)
    for condition in WITH_ROWS:
        (output_dir / f"{condition.stem}_spk1.scp").unlink(missing_ok=True)
    for stem in stems:
        rows = {key: clip.rows[stem][0] for key, clip in kept.items()}
        write_scp(output_dir / f"{stem}_spk1.scp", rows)
    for name, table in (
        ("visual_spk1.scp", {key: clip.visual for key, clip in kept.items()}),
        ("utt2spk", {key: category[key] for key in kept}),
        ("spk2utt", {spk: " ".join(keys) for spk, keys in members.items()}),
        ("utt2num_samples", {key: clip.num_samples for key, clip in kept.items()}),
        (
            "visual_shape",
            {k: ",".join(map(str, clip.visual_shape)) for k, clip in kept.items()},
        ),
    ):
        write_scp(output_dir / name, table)


def _copy_info(source: Path, target: Path) -> None:
    """Copy stage 2's description of features, if there is one."""
    if source.is_file():
        content = source.read_bytes()
        if not target.is_file() or target.read_bytes() != content:
            write_file(target, content)
    else:
        target.unlink(missing_ok=True)


def _log_summary(
    kept: Iterable[str], listed: Iterable[str], category: Mapping[str, str]
) -> None:
    def label(key: str) -> str:
        # Clips that stage 1 left out have no class but in their id.
        return category.get(key, key.split("-", 1)[0])

    of_class = Counter(label(key) for key in listed)
    kept_of_class = Counter(label(key) for key in kept)
    for name in sorted(of_class):
        logging.info(f"{name}: {kept_of_class[name]} of {of_class[name]} clips kept")
    logging.info(
        f"total: {sum(kept_of_class.values())} of {sum(of_class.values())} clips kept"
    )
