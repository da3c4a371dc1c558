"""The page to look at and listen to what one recording was separated into."""

import base64
import io
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import quote

import numpy as np

from espnet2_avsep.figures.spectrogram import log_share, ticks
from espnet2_avsep.media.clock import clock_begin
from espnet2_avsep.media.container import ClipError, open_media
from espnet2_avsep.media.picture import Picture, Resize, read_image
from espnet2_avsep.report.render import jpeg, render

_MIXTURE = "mixture"
# Numbers of channels that Web Audio mixes for two loudspeakers; of others it plays the
# first two only (and FLAC has eight at most), so that a page holds their mean.
_HEARD = (1, 2, 4, 6)
_FLAC_RATE = 655_350
_STILL = Resize((480, 640), "longest", "bilinear")
_QUERY = Resize((160, 240), "longest", "bilinear")


class Shown(NamedTuple):
    """What the page tells of a query.

    Attributes:
        text: As it was given.
        box: Of a region, (left, top, right, bottom) as shares of width and height.
        pictures: Those that it names.
    """

    text: str
    box: Optional[Tuple[float, float, float, float]] = None
    pictures: Sequence[Picture] = ()


def separation_page(
    result: Mapping[str, Any],
    queries: Mapping[str, Shown],
    folder: Path,
    embed: bool,
    video: Optional[Path] = None,
    start: float = 0.0,
) -> str:
    """Return the page.

    Args:
        result: What result.json holds.
        queries: Name of a track -> its query.
        folder: Where the files lie, and the page will.
        embed: Whether sounds and spectrograms are put into the page itself; otherwise
            it links the files beside it.
        video: The input, where it has a picture.
        start: Time on the video's clock of the first sample in s.

    Raises:
        ClipError: the picture of a query cannot be read.
    """
    still, notes, offset = None, list(result["notes"]), start
    if video is not None:
        try:
            with open_media(video) as container:  # the written videos begin there
                offset -= float(clock_begin(container))
            still = still_of(video, Fraction(start + result["seconds"] / 2))
        except ClipError as error:
            notes.append(f"no picture on this page: {error}")
    share = result["model_fs"] / result["fs"]
    where = "Sounds and pictures are embedded in this page; videos are files beside it."
    if not embed:
        where = "Sounds, pictures and videos are files beside it; move them together."
    names = sorted(result["tracks"], key=lambda name: name != _MIXTURE)
    tracks = [
        _track(name, result["tracks"][name], queries.get(name), still, folder, embed)
        for name in names
    ]
    # All videos show the same, and the page plays them without their sound.
    videos = [files["video"] for files in result["tracks"].values() if "video" in files]
    details = {
        "input": result["input"],
        "model": result["model"],
        "SHA-256 of the weights": result["weights_sha256"],
        "sound": f"{result['seconds']} s, {result['fs']} Hz, "
        + _channels(result["channels"], embed),
        "computing": f"{result['computing_seconds']} s",
        "samples that exceeded full scale": sum(result["clipped"].values()),
    }
    if notes:
        details["notes"] = " ".join(notes)
    return render(
        "separation.html",
        title=f"Separated: {Path(result['input']).name}",
        titles={},
        where=where,
        band=log_share(share) if share < 1 else None,
        bandwidth=result["bandwidth"],
        band_end=f"{result['model_fs'] / 2000:.1f} kHz",
        ticks=ticks(result["fs"] / 2),
        seconds=result["seconds"],
        start=round(offset, 6),
        video=videos[0] if videos else None,
        still=None if still is None else _picture(still),
        tracks=tracks,
        details=details,
    )


def _channels(number: int, embed: bool) -> str:
    if number == 1:
        return "1 channel"
    played = ", of which this page plays the mean" if number not in _HEARD else ""
    return f"{number} channels{played if embed else ''}"


def still_of(video: Path, time: Fraction) -> np.ndarray:
    """Return the picture that a video shows at a time on its clock, (H, W, 3), uint8.

    Raises:
        ClipError: it cannot be read.
    """
    from espnet2_avsep.visual.frames import video_frames

    return next(image for _, image in video_frames(video, [time], _STILL))


def _track(
    name: str,
    files: Mapping[str, Any],
    query: Optional[Shown],
    still: Optional[np.ndarray],
    folder: Path,
    embed: bool,
) -> Dict[str, Any]:
    """Return what the template shows of a track."""
    words = {"residual": "everything else", _MIXTURE: "the input"}.get(name, "")
    pictures, box = [], None
    if query is not None:
        words, box = f"query: {query.text}", query.box
        pictures = [read_image(picture, _QUERY) for picture in query.pictures]
        if box is not None and still is not None:
            pictures.append(_crop(still, box))
    return {
        "name": name,
        "words": words,
        "box": box and _place(box),
        "pictures": [_picture(picture) for picture in pictures],
        "sound": _source(files, "sound", folder, embed),
        "spectrogram": _source(files, "spectrogram", folder, embed),
        "files": [files[kind] for kind in ("sound", "video") if kind in files],
    }


def _place(box: Tuple[float, float, float, float]) -> Dict[str, float]:
    """Return where a box is, in percent."""
    left, top, right, bottom = (round(100 * value, 2) for value in box)
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def _crop(picture: np.ndarray, box: Tuple[float, float, float, float]) -> np.ndarray:
    height, width = picture.shape[:2]
    left, top = int(box[0] * width), int(box[1] * height)
    right, bottom = int(box[2] * width), int(box[3] * height)
    return picture[top : max(bottom, top + 1), left : max(right, left + 1)]


def _source(files: Mapping[str, Any], kind: str, folder: Path, embed: bool) -> str:
    """Return the address of a file, or its content as one; "": there is none."""
    if kind not in files:
        return ""
    path = folder / files[kind]
    if not embed:
        return quote(path.name)
    return _sound(path) if kind == "sound" else _data("image/png", path.read_bytes())


def _picture(picture: np.ndarray) -> Dict[str, Any]:
    height, width = picture.shape[:2]
    src = _data("image/jpeg", jpeg(picture))
    return {"src": src, "size": {"width": width, "height": height}}


def _sound(path: Path) -> str:
    """Return a sound of 16 bits in a data URL; see _HEARD."""
    import soundfile

    samples, fs = soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)
    if samples.shape[1] not in _HEARD:
        samples = samples.mean(axis=1)
    kind = "FLAC" if fs <= _FLAC_RATE else "WAV"
    content = io.BytesIO()
    soundfile.write(content, samples, fs, format=kind, subtype="PCM_16")
    return _data(f"audio/{kind.lower()}", content.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
