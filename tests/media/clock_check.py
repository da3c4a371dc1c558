"""Read a file of clock_files.py as the product does; compare with what is in it."""

from fractions import Fraction
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional

import numpy as np
import soundfile

from espnet2_avsep import Region
from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
from espnet2_avsep.data.audio.audio_format import format_audio
from espnet2_avsep.data.audio.audio_io import AudioTap, load_audio
from espnet2_avsep.data.clip_filter import Limits, filter_clips
from espnet2_avsep.data.segment_reader import read_matrix, read_segment
from espnet2_avsep.data.tables.scp import (
    read_scp,
    read_skipped,
    write_scp,
    write_skipped,
)
from espnet2_avsep.inference.file_separation import separate_file
from espnet2_avsep.inference.region_reader import _pictures_of
from espnet2_avsep.media.picture import Resize
from espnet2_avsep.media.stream import measure
from espnet2_avsep.visual.extract import _sampled_pictures, extract_visual
from espnet2_avsep.visual.visual_options import VisualOptions
from tests.media.clock_files import FPS, SECONDS, Clocked

FRAME = 1 / FPS
# Encoders fill their last packets: MP3 up to two of 26 ms.
PADDING = 0.06
FS = 11625


def wrong(file: Clocked) -> List[str]:
    """Return what the reading code gets wrong; nothing: all is right."""
    found: List[str] = []

    def check(what: str, value: Optional[float], right: float, by: float) -> None:
        if value is None or abs(value - right) > by:
            found.append(f"{what}: {value}, {right:.3f} s expected")

    # Stage 3, and stage 2 in the same pass.
    path = str(file.path)
    audio = load_audio(path, FS)
    check("stage 3, click", _click(audio, FS), file.click, FRAME)
    check("stage 3, length", len(audio) / FS, file.seconds, PADDING)
    if file.flash is not None:
        tap = AudioTap(path)
        rows = list(_sampled_pictures(path, path, FPS, 1, Resize((16, 16)), tap))
        check("stage 2, rows", len(rows) / FPS, file.seconds, PADDING + FRAME)
        check("stage 2, flash", _flash(rows), _expected(file, audio, FS), FRAME)
        if tap.audio is None:
            found.append("stage 2: the sound was left to a pass of its own")
        else:
            check("stage 2, click", _click(*tap.audio), file.click, FRAME)
    # avsep separate.
    blocks = AudioBlocks(path)
    sound = np.concatenate(list(blocks), axis=-1)
    check("separate, click", _click(sound[0], blocks.fs), file.click, FRAME)
    half = separate_file(Half(), path, [None, None], file.path.with_suffix(".out"))
    tracks = [soundfile.read(track) for track in half.tracks.values()]
    click = _click(sum(samples for samples, _ in tracks), half.fs)
    check("separate_file, click", click, file.click, FRAME)
    if file.flash is not None:
        looks = _pictures_of(Region(path, every=FRAME))
        flash = _expected(file, sound[0], blocks.fs)
        check("separate, flash", _flash(looks), flash, FRAME)
    # Probe, health page, downloads.
    info = measure(path)
    check("measure, sound", info.audio_duration, file.seconds, PADDING)
    if file.flash is not None:
        shown = FRAME if file.pictures == 1 else SECONDS
        check("measure, picture", info.video_duration, shown, 2 * FRAME + 1e-3)
    if blocks.length is not None:
        check("length", blocks.length / blocks.fs, file.seconds, PADDING)
    return found


class Half:
    """A separator that gives each of its queries half of the mixture."""

    shortest = 0.0

    @staticmethod
    def stream(pieces, prompts, fs, **_) -> Iterator[np.ndarray]:
        """See SeparateAV.stream."""
        for piece in pieces:
            mono = np.atleast_2d(piece).mean(axis=0)
            yield np.stack([mono / 2] * len(prompts) + [0 * mono])


def wrong_in_tables(files: Mapping[str, Clocked], folder: Path) -> Dict[str, List[str]]:
    """Run stages 2 to 4 on files; return what their tables get wrong, for each file.

    A clip that a stage left out has its reason, after "left out: ".
    """
    clips = {key: str(file.path) for key, file in files.items()}
    videos = {key: clips[key] for key, file in files.items() if file.flash is not None}
    write_scp(folder / "wav.scp", clips)
    write_scp(folder / "video.scp", videos)
    write_scp(folder / "utt2spk", dict.fromkeys(videos, "click"))
    write_skipped(folder / "skipped.tsv", [])
    visual, audio, clean = (folder / name for name in ("visual", "audio", "clean"))
    where = {"video_scp": [folder / "video.scp"], "output_dir": [visual]}
    how = {"visual_encoder": "frames", "visual_size": 16, "fps": FPS, "every": 1}
    extract_visual(VisualOptions(**where, **how))
    format_audio(folder / "wav.scp", audio, FS)
    clean.mkdir()
    filter_clips(folder, audio, visual, clean, Limits(FS, 1000))
    wavs = {**read_scp(audio / "wav.scp"), **read_scp(clean / "wav.scp")}
    rows = read_scp(clean / "visual_spk1.scp")
    found: Dict[str, List[str]] = {key: [] for key in files}
    for table in (visual / "visual_skipped.tsv", clean / "skipped.tsv"):
        for row in read_skipped(table):
            found[row.key].append(f"left out: {row.reason}")
    for key, file in files.items():
        if found[key]:
            continue
        sound = read_segment(wavs[key])
        times = [_click(sound, FS)]
        right = [file.click]
        if file.flash is not None:
            pictures = read_matrix(rows[key])
            length = len(sound) / FS / len(pictures)
            times.append(
                _flash(((i + 0.5) * length, p) for i, p in enumerate(pictures))
            )
            right.append(_expected(file, sound, FS))
        for what, time, expected in zip(("click", "flash"), times, right, strict=False):
            if time is None or abs(time - expected) > FRAME:
                found[key].append(f"stage 4, {what}: {time}, {expected:.3f} s expected")
    return found


def _expected(file: Clocked, audio: np.ndarray, rate: int) -> float:
    """Return when the white picture should come, by when the click comes.

    Encoders put a packet before the first sample, which not all containers hide.
    """
    click = _click(audio, rate)
    if file.flash <= 0 or click is None:
        return 0.0
    return click + file.flash - file.click


def _click(audio: np.ndarray, rate: int) -> Optional[float]:
    loud = np.flatnonzero(np.abs(audio) > 0.4)
    return None if len(loud) == 0 else float(loud[0] / rate)


def _flash(pictures) -> Optional[float]:
    """Time of the first white picture, less half the distance of the pictures."""
    for time, image in pictures:
        if image.mean() > 180:
            return float(Fraction(time)) - FRAME / 2
    return None
