"""The fixed mixtures of valid and test sets, drawn once and written to disk."""

import hashlib
import logging
import random
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import numpy as np

from espnet2_avsep.data.audio.wav_writer import HEADER_BYTES, write_float_wav
from espnet2_avsep.data.clip_filter import check_widths, count_clips, read_source
from espnet2_avsep.data.conditions import WITH_ROWS
from espnet2_avsep.data.features import write_ark
from espnet2_avsep.data.frame_store import PackedFrames
from espnet2_avsep.data.mixing import same_video
from espnet2_avsep.data.mixing.mixture_draw import (
    draw_groups,
    draw_same_class,
    too_few_of_class,
)
from espnet2_avsep.data.mixing.mixture_list import (
    ClipTable,
    Mixture,
    Source,
    centre_source,
    format_table,
    read_mixture_list,
)
from espnet2_avsep.data.mixing.silent_sources import (
    SilentSources,
    check_silent_sources,
    draw_silent,
)
from espnet2_avsep.data.motion import ALIGNMENTS
from espnet2_avsep.data.records.content import (
    Content,
    content_of,
    file_digest,
    is_older,
    read_content,
    table_digest,
    write_content,
    written_at,
)
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.data.records.made_from import (
    VERSIONS,
    Record,
    begin_record,
    check_folder,
    make_record,
    read_record,
    record_path,
    write_record,
)
from espnet2_avsep.data.records.output_folder import protect, refuse_foreign
from espnet2_avsep.data.segment_reader import (
    audio_info,
    is_silent,
    matrix_shape,
    read_packed,
    read_rows,
    read_segment,
    rows_in_segment,
    strided_rows,
)
from espnet2_avsep.data.tables.clip_folder import read_clip_tables
from espnet2_avsep.data.tables.clip_id import file_stem
from espnet2_avsep.data.tables.key_check import shorten
from espnet2_avsep.data.tables.scp import (
    PathLike,
    Skipped,
    read_skipped,
    write_file,
    write_scp,
    write_skipped,
)
from espnet2_avsep.data.tables.yaml_file import write_yaml
from espnet2_avsep.errors import InputError, check_integers

STAGE = "mixtures"
# A list that was drawn when clips of one video could be mixed.
FORMER_LIST = "former_list.tsv"
_STEMS = [condition.stem for condition in WITH_ROWS]
_TABLES = ("wav", "spk*", "visual_spk*")
_MARKER = "data/state.sha256"
# Names of our files that were not finished.
_ROWS = "|".join(("visual", *_STEMS))
_OURS = re.compile(rf"\.(mixtures|wav|spk|({_ROWS})_spk|skipped|counts)[0-9.]")


def make_mixtures(
    clips_dir: PathLike,
    output_dir: PathLike,
    fs: int,
    num_sources: int = 2,
    segment_samples: int = 65280,
    num_mixtures: Optional[int] = None,
    different_class: bool = False,
    seed: int = 0,
    list_file: Optional[PathLike] = None,
    silence_dbfs: float = -60.0,
    visual_frames: int = 1,
    visual_stride: int = 1,
    motion_align: str = "whole",
    silent_sources: SilentSources = 0,
    same_class: bool = False,
) -> Dict:
    """Draw (or read) a list of mixtures and write them as scp files and wavs.

    Of each clip the centre segment and the visual row nearest to its middle are used,
    or several rows around that one.
    Every source is divided by the number of sources that sound; the mixture is their
    sum.

    A second run keeps the wavs that are finished, if the list and the clips' files are
    still the same; the result is byte for byte that of a run without a break.

    Args:
        clips_dir: What filter_clips wrote.
        output_dir: Gets wav.scp, spk{n}.scp, visual_spk{n}.scp, mixtures.tsv,
            mixtures.sha256, skipped.tsv, utt2video where clips share a video, data/,
            the tables' contents
            (data/records/content.py), counts.yaml and, last, made_from.json; of each
            condition whose rows the clips have, <stem>_spk{n}.scp.
        fs: Sampling rate of the clips in Hz.
        num_sources: Sources N of a mixture.
        segment_samples: Samples of a mixture.
        num_mixtures: How many to draw; None: as many as there are clips.
        different_class: Whether the sources of a mixture are of different classes.
        seed: Seed of the draw.
        list_file: A mixtures.tsv, or N columns of clip ids or wav names. Then nothing
            is drawn; mixtures of clips that are not there are left out and counted.
        silence_dbfs: Clips whose centre segment has an RMS below this are not drawn
            (dB, full scale = 0 dB). A list is taken as it is.
        visual_frames: Visual rows of each source.
        visual_stride: Their distance in rows.
        motion_align: Rows of motion, and of other conditions, of each source: those of
            the "whole" clip, or only of its "segment" (at least one).
        silent_sources: Sources whose reference is silence, while their pictures are
            there. See check_silent_sources. The clips are those that are drawn without
            it; a list names its own silent sources.
        same_class: Whether the sources of a mixture are different clips of one class,
            which pictures of the class cannot tell apart. Clips whose class has fewer
            than N clips (of different videos) are left out and counted.

    Returns:
        The content of counts.yaml: the counts of clips as in filter_clips, and
        ``mixtures``: listed, made, skipped (reason -> number), and how they were drawn.

    Raises:
        InputError: too few clips or classes, a list that cannot be read, files that do
            not fit the tables.
    """
    clips_dir, output_dir = Path(clips_dir), Path(output_dir)
    protect([output_dir / "wav.scp"], [clips_dir / "wav.scp"])
    protect([output_dir / "mixtures.tsv"], [] if list_file is None else [list_file])
    _check_foreign(output_dir)
    check_integers(
        1,
        num_sources=num_sources,
        segment_samples=segment_samples,
        visual_frames=visual_frames,
        visual_stride=visual_stride,
    )
    check_integers(0, seed=seed)
    if motion_align not in ALIGNMENTS:
        raise InputError(
            f"motion_align is {motion_align!r}; expected {' or '.join(ALIGNMENTS)}."
        )
    check_silent_sources(silent_sources, [num_sources])
    if silent_sources and list_file is not None:
        raise InputError(
            f"silent_sources is {silent_sources} and mixtures are read from "
            f"{list_file}: a list names its silent sources itself, in columns "
            "silent{n} of a mixtures.tsv. Give one of the two."
        )
    if same_class and (different_class or list_file is not None):
        other = "different_class" if different_class else f"the list {list_file}"
        raise InputError(f"same_class does not go with {other}: give one of the two.")
    clips = read_clips(clips_dir, fs)
    earlier = read_skipped(clips_dir / "skipped.tsv")
    listed = set(clips.wav) | {row.key for row in earlier}
    videos = same_video.read_videos(clips_dir, clips.wav)

    silent: List[Skipped] = []
    not_made: List[Skipped] = []
    if list_file is None:
        silent = _unfit_clips(clips, segment_samples, silence_dbfs)
        unfit = {row.key for row in silent}
        usable = {k: v for k, v in clips.category.items() if k not in unfit}
        if same_class:
            alone = too_few_of_class(usable, num_sources, videos)
            what = "videos" if videos else "clips"
            for clip, (name, size) in sorted(alone.items()):
                reason = f"too few {what} of its class: {size} of {name}"
                silent.append(Skipped(clip, STAGE, f"{reason}, {num_sources} needed"))
                del usable[clip]
        logging.info(f"{len(usable)} of {len(clips.wav)} clips can be drawn")
        if not usable:
            write_skipped(output_dir / "skipped.tsv", earlier + silent)
            raise InputError(
                f"{clips_dir}: none of the {len(clips.wav)} clips can be mixed, for "
                f"instance {silent[0].key}, {silent[0].reason}. All are listed in "
                f"{output_dir / 'skipped.tsv'}."
            )
        number = len(usable) if num_mixtures is None else num_mixtures
        try:
            if same_class:
                groups = draw_same_class(usable, number, num_sources, seed, videos)
            else:
                groups = draw_groups(
                    usable, number, num_sources, different_class, seed, videos
                )
        except InputError as error:
            write_skipped(output_dir / "skipped.tsv", earlier + silent)
            raise InputError(
                f"{clips_dir}: {error} What stages 1 to 4 left out, and why: "
                f"{output_dir / 'skipped.tsv'}."
            ) from error
        rng = random.Random(f"silent sources {seed}")
        mixtures = []
        for i, group in enumerate(groups):
            sources = [centre_source(clips, key, segment_samples) for key in group]
            is_silent_source = draw_silent(silent_sources, num_sources, rng)
            mixtures.append(
                Mixture(
                    f"mix{i:05d}",
                    tuple(
                        source._replace(silent=value)
                        for source, value in zip(sources, is_silent_source, strict=True)
                    ),
                )
            )
    else:
        usable = clips.category
        mixtures, not_made = read_mixture_list(
            list_file, clips, num_sources, segment_samples
        )
    shared = [
        mixture.mix_id
        for mixture in mixtures
        if same_video.repeats([source.clip for source in mixture.sources], videos)
    ]
    if shared:
        logging.warning(
            f"{list_file}: {len(shared)} of {len(mixtures)} mixtures are of two clips "
            f"of one video, as the list has them: {shorten(shared)}"
        )

    counts = count_clips(usable, earlier + silent, listed)
    counts.update(read_source(clips_dir / "counts.yaml"))
    table = format_table(mixtures)
    digest = hashlib.sha256(table).hexdigest()
    uses = Counter(source.clip for mixture in mixtures for source in mixture.sources)
    counts["mixtures"] = {
        "listed": len(mixtures) + len(not_made),
        "made": len(mixtures),
        "skipped": dict(
            sorted(Counter(row.reason.split(": ", 1)[0] for row in not_made).items())
        ),
        "sha256": digest,
        "list": None if list_file is None else str(list_file),
        "list_sha256": None if list_file is None else file_sha256(list_file),
        "seed": None if list_file is not None else seed,
        "num_sources": num_sources,
        "different_class": None if list_file is not None else different_class,
        **({"same_class": True} if same_class else {}),
        **({"different_videos": True} if videos and list_file is None else {}),
        **({"of_one_video": len(shared)} if shared else {}),
        **_silent_counts(mixtures, silent_sources),
        "segment_samples": segment_samples,
        "fs": fs,
        "visual_frames": visual_frames,
        "visual_stride": visual_stride,
        **({"motion_align": motion_align} if clips.rows else {}),
        "clips_used": len(uses),
        "least_uses": min(uses.values()) if len(uses) == len(usable) else 0,
        "most_uses": max(uses.values()),
    }

    content = table_digest(clips_dir / "wav.scp", uses)
    text = f"{digest} {fs} {segment_samples} {content}\n"
    state = hashlib.sha256(text.encode()).hexdigest()
    if visual_frames > 1:
        state += f" {visual_frames} rows, {visual_stride} apart"
    if clips.rows and motion_align == "segment":
        state += " motion of the segment"
    if VERSIONS[4] > 1:
        state += f" version {VERSIONS[4]}"
    if videos and list_file is None:
        _keep_former_list(output_dir, digest)
    _prepare_folder(output_dir, state)
    _write_audio(output_dir, mixtures, clips, fs, segment_samples, num_sources)
    for n in range(num_sources):
        _write_visual(output_dir, mixtures, clips, n, visual_frames, visual_stride)
        part = segment_samples if motion_align == "segment" else None
        for stem in clips.rows:
            _write_rows(clips_dir, output_dir, mixtures, clips, stem, n, part)
    write_skipped(output_dir / "skipped.tsv", earlier + silent + not_made)
    write_file(output_dir / "mixtures.tsv", table)
    write_file(output_dir / "mixtures.sha256", f"{digest}  mixtures.tsv\n")
    same_video.copy_videos(clips_dir, output_dir, uses)
    write_yaml(output_dir / "counts.yaml", counts)
    write_record(output_dir, _record(clips_dir, list_file, counts["mixtures"]))
    logging.info(
        f"{len(mixtures)} mixtures of {len(uses)} clips, each in {min(uses.values())} "
        f"to {max(uses.values())} mixtures; SHA-256 of the list: {digest}"
    )
    return counts


def _keep_former_list(output_dir: Path, digest: str) -> None:
    """Keep a list that was drawn without regard to which clips are of one video.

    By an earlier version, or before the set had two clips of one video. Results of it
    can be made again with the option list_file.
    """
    path = output_dir / "mixtures.tsv"
    former = (read_record(output_dir) or {}).get("options", {})
    if "different_videos" in former or former.get("list") or not path.is_file():
        return
    if former.get("sha256") in (None, digest):
        return
    shutil.copyfile(path, output_dir / FORMER_LIST)
    logging.warning(
        f"{path}: the list that was there was drawn without regard to which clips are "
        f"of one video; it is kept as {output_dir / FORMER_LIST}. Results of the two "
        "lists are not comparable; --test_mixture_list (--valid_mixture_list) of "
        "avsep.sh makes the mixtures of the earlier one again."
    )


def _record(clips_dir: Path, list_file: Optional[PathLike], options: Dict) -> Record:
    """Return what a set of mixtures is made from."""
    names = ("wav", "visual_spk1", *(f"{stem}_spk1" for stem in _STEMS))
    tables = {f"clips' {name}.scp": clips_dir / f"{name}.scp" for name in names}
    tables = {name: path for name, path in tables.items() if path.is_file()}
    files = {"classes": clips_dir / "utt2spk"}
    if record_path(clips_dir).is_file():
        files["clips"] = record_path(clips_dir)
    if list_file is not None:
        files["list"] = Path(list_file)
    return make_record(4, tables, files, options)


def _silent_counts(mixtures: List[Mixture], option: SilentSources) -> Dict:
    """Return the option and the number of silent sources, where there are any."""
    number = sum(source.silent for mixture in mixtures for source in mixture.sources)
    if not number:
        return {}
    shown = list(option) if isinstance(option, (list, tuple)) else option
    return {"silent_sources": shown or "listed", "num_silent_sources": number}


def read_clips(clips_dir: Path, fs: int) -> ClipTable:
    """Read the tables of filter_clips and the sizes from the files' headers.

    Raises:
        InputError: tables that disagree, another sampling rate, embedding widths that
            differ.
    """
    paths = {stem: clips_dir / f"{stem}_spk1.scp" for stem in _STEMS}
    stems = [stem for stem, path in paths.items() if path.is_file()]
    names = ["wav.scp", "visual_spk1.scp", "utt2spk"]
    names += [paths[stem].name for stem in stems]
    wav, visual, category, *rows = read_clip_tables(clips_dir, *names)
    num_samples, shapes = {}, {}
    for key in sorted(wav, key=str.encode):
        num_samples[key], rate = audio_info(wav[key])
        if rate != fs:
            raise InputError(
                f"{wav[key]}: {rate} Hz where {fs} Hz were expected. Run stage 3 again "
                f"with --fs {fs}."
            )
        shapes[key] = matrix_shape(visual[key])
        if shapes[key][0] < 1:
            raise InputError(f"{visual[key]} ({key}) has no rows. Run stage 4 again.")
    check_widths({key: (visual[key], shape) for key, shape in shapes.items()})
    num_rows = {key: shape[0] for key, shape in shapes.items()}
    conditions = dict(zip(stems, rows, strict=True))
    return ClipTable(wav, visual, category, num_samples, num_rows, conditions)


def _unfit_clips(
    clips: ClipTable, segment_samples: int, silence_dbfs: float
) -> List[Skipped]:
    """List the clips that are too short, or silent in their centre segment."""
    unfit = []
    for clip in sorted(clips.wav, key=str.encode):
        if clips.num_samples[clip] < segment_samples:
            reason = (
                f"shorter than a segment: {clips.num_samples[clip]} samples, "
                f"{segment_samples} needed"
            )
            unfit.append(Skipped(clip, STAGE, reason))
            continue
        start = centre_source(clips, clip, segment_samples).start
        samples = read_segment(clips.wav[clip], start, segment_samples)
        if is_silent(samples, silence_dbfs):
            reason = f"centre segment silent: RMS below {silence_dbfs:g} dB"
            unfit.append(Skipped(clip, STAGE, reason))
    return unfit


def _check_foreign(output_dir: Path) -> None:
    """Raise where a folder holds tables or a list that stage 4 did not write."""
    check_folder(output_dir, 4)
    if read_record(output_dir) is not None or (output_dir / _MARKER).exists():
        return
    for name in ("wav.scp", "spk1.scp", "mixtures.tsv"):
        refuse_foreign(output_dir / name, "with mixtures")


def _prepare_folder(output_dir: Path, state: str) -> None:
    """Remove what an earlier run left, but for finished wavs of the same state."""
    data = output_dir / "data"
    data.mkdir(parents=True, exist_ok=True)
    begin_record(output_dir, 4)
    (output_dir / "counts.yaml").unlink(missing_ok=True)
    (output_dir / same_video.TABLE).unlink(missing_ok=True)
    marker = output_dir / _MARKER
    same = marker.exists() and marker.read_text(encoding="utf-8").strip() == state
    if not same:
        # The tables first: what a table lists must be there and complete.
        tables = [f"{name}.{end}" for name in _TABLES for end in ("scp", "content")]
        for pattern in (*tables, "mixtures.tsv", "mixtures.sha256"):
            for path in output_dir.glob(pattern):
                path.unlink()
        marker.unlink(missing_ok=True)
        for pattern in ("wav/*.wav", "spk*/*.wav", "visual_spk*.ark"):
            for path in data.glob(pattern):
                path.unlink()
    # With or without conditions: the wavs are the same, these tables are made anew.
    for stem in _STEMS:
        found = *output_dir.glob(f"{stem}_spk*.*"), *data.glob(f"{stem}_spk*.ark")
        for path in found:
            path.unlink()
    # Stage 2 may be at work in output_dir: its half-written files are not ours.
    for path in output_dir.glob(".*.tmp"):
        if _OURS.match(path.name):
            path.unlink()
    for pattern in (".*.tmp", "wav/.*.tmp", "spk*/.*.tmp"):
        for path in data.glob(pattern):
            path.unlink()
    if not same:
        write_file(marker, state + "\n")


def _write_audio(
    output_dir: Path,
    mixtures: List[Mixture],
    clips: ClipTable,
    fs: int,
    segment_samples: int,
    num_sources: int,
) -> None:
    names = ["wav", *(f"spk{n}" for n in range(1, num_sources + 1))]
    tables: Dict[str, Dict[str, str]] = {name: {} for name in names}
    size = HEADER_BYTES + 4 * segment_samples
    known = {name: read_content(output_dir / f"{name}.scp") for name in names}
    written = {name: written_at(output_dir / f"{name}.content") for name in names}
    step = max(len(mixtures) // 10, 1)
    for i, mixture in enumerate(mixtures, 1):
        file = f"{file_stem(mixture.mix_id)}.wav"
        paths = {name: output_dir / "data" / name / file for name in names}
        for name, path in paths.items():
            tables[name][mixture.mix_id] = str(path)
        if not all(
            _is_finished(path, size, known[name].get(mixture.mix_id), written[name])
            for name, path in paths.items()
        ):
            sounding = np.float32(sum(not source.silent for source in mixture.sources))
            signals = [
                np.zeros(segment_samples, np.float32)
                if source.silent
                else read_segment(clips.wav[source.clip], source.start, segment_samples)
                / sounding
                for source in mixture.sources
            ]
            signals.insert(0, np.sum(signals, axis=0, dtype=np.float32))
            for path, signal in zip(paths.values(), signals, strict=True):
                write_float_wav(path, signal, fs)
        if i % step == 0 or i == len(mixtures):
            logging.info(f"{i}/{len(mixtures)} mixtures written")
    for name, table in tables.items():
        scp = output_dir / f"{name}.scp"
        write_content(scp, content_of(table, scp, whole=True))
        write_scp(scp, table)


def _is_finished(
    path: Path, size: int, content: Optional[Content], written: Tuple[int, int]
) -> bool:
    """Return whether a wav is there as it was written."""
    if not path.exists() or path.stat().st_size != size:
        return False
    return (
        content is None
        or is_older(path.stat(), written)
        or content.digest == file_digest(path)
    )


def _write_visual(
    output_dir: Path,
    mixtures: List[Mixture],
    clips: ClipTable,
    n: int,
    count: int,
    stride: int,
) -> None:
    """Write the rows of source n, (count, D) matrices or packed frames, with an scp."""

    def read(source: Source) -> Union[np.ndarray, PackedFrames]:
        ref, num_rows = clips.visual[source.clip], clips.num_rows[source.clip]
        rows = strided_rows(source.frame, count, stride, num_rows)
        frames = read_packed(ref, rows)
        return read_rows(ref, rows) if frames is None else frames

    name = f"visual_spk{n + 1}"
    records = ((mixture.mix_id, read(mixture.sources[n])) for mixture in mixtures)
    write_ark(output_dir / f"{name}.scp", output_dir / "data" / f"{name}.ark", records)


def _write_rows(
    clips_dir: Path,
    output_dir: Path,
    mixtures: List[Mixture],
    clips: ClipTable,
    stem: str,
    n: int,
    segment_samples: Optional[int],
) -> None:
    """Write a condition's rows of source n: the clip's matrix, or rows cut from it.

    Args:
        clips_dir: Where the clips' tables are.
        output_dir: Where the set goes.
        mixtures: The mixtures.
        clips: The clips.
        stem: Of the condition.
        n: Number of the source, from 0.
        segment_samples: Length of the segment whose rows are cut out; None: all rows,
            which stay where they are.
    """
    scp = output_dir / f"{stem}_spk{n + 1}.scp"
    table = clips.rows[stem]
    sources = {mixture.mix_id: mixture.sources[n] for mixture in mixtures}
    if segment_samples is None:
        known = read_content(clips_dir / f"{stem}_spk1.scp")
        if known:
            write_content(scp, {k: known[s.clip] for k, s in sources.items()})
        write_scp(scp, {key: table[s.clip] for key, s in sources.items()})
        return

    def read(source: Source) -> np.ndarray:
        ref, num_samples = table[source.clip], clips.num_samples[source.clip]
        span = (source.start, segment_samples, num_samples, matrix_shape(ref)[0])
        return read_rows(ref, range(*rows_in_segment(*span)))

    records = ((key, read(source)) for key, source in sources.items())
    write_ark(scp, output_dir / "data" / f"{scp.stem}.ark", records)
