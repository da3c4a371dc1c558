"""Small copies of the sounds of a few mixtures, their spectrograms and their prompts.

Everything that a page of results plays or shows lies below its own folder, so that the
folder can be copied, and opened without a network, without anything else.
"""

import re
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from espnet2_avsep.data.audio.audio_io import read_audio, write_audio
from espnet2_avsep.data.records.journal import Journal, remove_leftovers, signature
from espnet2_avsep.data.records.made_from import VERSIONS
from espnet2_avsep.data.records.output_folder import OutputFolder
from espnet2_avsep.data.records.progress import Progress
from espnet2_avsep.data.tables.scp import PathLike, write_file
from espnet2_avsep.errors import InputError, clear_disk_errors
from espnet2_avsep.figures.spectrogram import (
    canvas,
    levels,
    magnitudes,
    mask,
    write_picture,
)
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.stream import probe
from espnet2_avsep.report.audible_mixture import AudibleMixture, Prompt
from espnet2_avsep.report.render import jpeg
from espnet2_avsep.visual.extract import REGIONS
from espnet2_avsep.visual.frames import (
    Resize,
    folder_frames,
    list_images,
    video_frames,
)

THUMBNAIL = Resize((120, 214), "longest", "bilinear")
_JOURNAL = "media.journal"


class Media(NamedTuple):
    """What was written for one mixture.

    Attributes:
        folder: Its folder, below that of all mixtures.
        seconds: Duration of the mixture.
        fs: Its sampling rate in Hz.
        clipped: Samples beyond full scale in the copies, which were clipped.
        files: Names of the files in its folder.
        prompts: Of each source, why there is no picture of its prompt; "": there is.
    """

    folder: str
    seconds: float
    fs: int
    clipped: int
    files: Tuple[str, ...]
    prompts: Tuple[str, ...]


def file_name(key: str) -> str:
    """Return a name for a key that is safe in paths, links and ids, and its own.

    What else than letters, digits, "_" and "-" is in the key becomes "_"; such names
    end in a checksum of the key.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", key)[:80]
    if plain == key and key:
        return plain
    return f"{plain}-{zlib.crc32(key.encode(errors='surrogateescape')):08x}"


def write_media(
    mixtures: Sequence[AudibleMixture], folder: PathLike
) -> Dict[Tuple[str, str], Media]:
    """Write what a page plays and shows of some mixtures.

    A run that was cut off goes on where it stopped; what belongs to other mixtures than
    these is removed.

    Args:
        mixtures: Which ones.
        folder: Gets <set>/<mixture>/ with flac, png and jpg files, and media.journal.

    Returns:
        (set, id) -> what was written.

    Raises:
        InputError: a sound cannot be read, sampling rates differ, the disk is full,
            another process works here.
    """
    folder = Path(folder)
    found: Dict[Tuple[str, str], Media] = {}
    settings = {"thumbnail": list(THUMBNAIL)}
    is_own = (folder / _JOURNAL).is_file()
    with Journal(folder / _JOURNAL, settings, VERSIONS[8]) as journal:
        progress = Progress(len(mixtures), "mixtures to listen to")
        for mixture in mixtures:
            place = f"{file_name(mixture.dset)}/{file_name(mixture.mix_id)}"
            entry = journal.entries.get(place, {})
            sources = _signatures(mixture)
            if not _finished(entry, sources, folder / place):
                (folder / place).mkdir(parents=True, exist_ok=True)
                remove_leftovers(folder / place)
                with clear_disk_errors(folder / place):
                    entry = _write(mixture, folder / place)
                    journal.add(place, sources=sources, **entry)
            found[mixture.dset, mixture.mix_id] = Media(
                place,
                entry["seconds"],
                entry["fs"],
                entry["clipped"],
                tuple(entry["files"]),
                tuple(entry["prompts"]),
            )
            progress.step()
        if is_own:
            _remove_others(folder, found.values())
    return found


def copy_files(
    files: Mapping[str, Mapping[str, Path]], folder: Path
) -> Dict[str, Dict[str, str]]:
    """Copy what a page links beside it, so that its folder is complete.

    Args:
        files: Set, or "" -> title -> file; one that is missing is left out.
        folder: Gets the copies; those of former calls are removed.

    Returns:
        Set, or "" -> title -> the copy, relative to where ``folder`` lies.
    """
    found: Dict[str, Dict[str, str]] = {}
    copies = set()
    with clear_disk_errors(folder):
        for name, own in files.items():
            found[name] = {}
            place = folder / file_name(name) if name else folder
            for title, path in own.items():
                if not path.is_file():
                    continue
                stem = path.stem if title == path.name else file_name(title)
                copy = place / f"{stem}{path.suffix}"
                content = path.read_bytes()
                if not copy.is_file() or copy.read_bytes() != content:
                    write_file(copy, content)
                copies.add(copy)
                found[name][title] = copy.relative_to(folder.parent).as_posix()
        names = sorted(copy.relative_to(folder).as_posix() for copy in copies)
        outputs = OutputFolder(folder, "report")
        outputs.discard(outputs.left_over(names))
        outputs.add(*names)
    return found


def prompt_pictures(prompt: Prompt) -> np.ndarray:
    """Return the pictures of a prompt side by side, (H, W, 3), uint8.

    Raises:
        ClipError: they cannot be read, or it is not known where they are.
    """
    if not prompt.video:
        raise ClipError("prompt", "the clip has no video in the tables")
    if not prompt.times:
        raise ClipError(prompt.video, "it is not known which of its pictures")
    order = sorted(prompt.times)
    if Path(prompt.video).is_dir():
        pictures = _of_folder(prompt, order)
    else:
        info = probe(prompt.video)
        if not info.has_video:
            raise ClipError(prompt.video, "no video stream")
        times = [Fraction(time) for time in order]
        frames = video_frames(prompt.video, times, THUMBNAIL, info.zero)
        pictures = [image for _, image in frames]
    if len({picture.shape for picture in pictures}) > 1:
        raise ClipError(prompt.video, "pictures of different sizes")
    begin, end = REGIONS[prompt.region]
    width = pictures[0].shape[1]
    return np.hstack([p[:, int(begin * width) : int(end * width)] for p in pictures])


def _of_folder(prompt: Prompt, times: Sequence[float]) -> List[np.ndarray]:
    """Pictures of a folder, which are spread evenly over the clip's duration."""
    count = len(list_images(prompt.video))
    seconds = prompt.seconds or max(times[-1], 1.0)
    places = [min(int(time / seconds * count), count - 1) for time in times]
    images = dict.fromkeys(places)
    for number, image in folder_frames(prompt.video, 1, THUMBNAIL):
        if number in images:
            images[number] = image
        if number >= places[-1]:
            break
    return [images[place] for place in places]


def _write(mixture: AudibleMixture, place: Path) -> Dict[str, Any]:
    """Write the files of one mixture; return the fields of its journal entry."""
    audio, fs = _read(mixture.sound)
    shared = canvas(magnitudes(audio))
    files: Dict[str, int] = {}
    prompts: List[str] = []
    clipped = 0

    def sound(name: str, samples: np.ndarray, magnitude: np.ndarray) -> None:
        nonlocal clipped
        path = place / f"{name}.flac"
        clipped += write_audio(path, samples, fs)
        files[path.name] = path.stat().st_size
        picture = place / f"{name}.png"
        files[picture.name] = write_picture(picture, levels(magnitude, shared))

    sound("mixture", audio, shared.mixture)
    for n, source in enumerate(mixture.sources, 1):
        if source.reference:
            samples = _same_rate(source.reference, fs, mixture.sound)
            sound(f"reference{n}", samples, magnitudes(samples))
        for k, path in enumerate(source.estimates, 1):
            samples = _same_rate(path, fs, mixture.sound)
            magnitude = magnitudes(samples)
            sound(f"system{k}_estimate{n}", samples, magnitude)
            name = f"system{k}_mask{n}.png"
            picture = mask(magnitude, shared)
            files[name] = write_picture(place / name, picture, grey=True)
        try:
            pictures = prompt_pictures(source.prompt)
        except ClipError as error:
            prompts.append(error.reason)
            continue
        prompts.append("")
        name = f"prompt{n}.jpg"
        content = jpeg(pictures)
        write_file(place / name, content)
        files[name] = len(content)
    return {
        "seconds": len(audio) / fs,
        "fs": fs,
        "clipped": clipped,
        "files": files,
        "prompts": prompts,
    }


def _read(path: str) -> Tuple[np.ndarray, int]:
    audio, fs = read_audio(path)
    # An analysis window at least: torch refuses to pad less.
    return np.pad(audio, (0, max(0, 1024 - len(audio)))), fs


def _same_rate(path: str, fs: int, mixture: str) -> np.ndarray:
    audio, rate = _read(path)
    if rate != fs:
        raise InputError(
            f"{path} has {rate} Hz, {mixture} has {fs} Hz; expected one rate. Run "
            "stages 4 and 7 again with one --fs."
        )
    return audio


def _signatures(mixture: AudibleMixture) -> List[Any]:
    """What the files of a mixture depend on."""
    found: List[Any] = [signature(mixture.sound)]
    for source in mixture.sources:
        paths = [source.reference, *source.estimates, source.prompt.video]
        found += [signature(path) for path in paths if path]
        found.append([list(source.prompt.times), source.prompt.region])
    return found


def _finished(entry: Mapping[str, Any], sources: List[Any], place: Path) -> bool:
    if entry.get("sources") != sources:
        return False
    return all(
        (place / name).is_file() and (place / name).stat().st_size == size
        for name, size in entry["files"].items()
    )


def _remove_others(folder: Path, kept: Iterable[Media]) -> None:
    """Remove files that no mixture of the page has, and folders left empty."""
    wanted = {f"{media.folder}/{name}" for media in kept for name in media.files}
    for path in folder.glob("*/*/*"):
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    for path in [*folder.glob("*/*"), *folder.glob("*")]:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
