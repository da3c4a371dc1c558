"""The page to listen to what one recording was separated into."""

import base64
import io
import os
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple
from urllib.parse import quote

from espnet2_avsep.report.html import Html, element

_MIXTURE = "mixture"


class _Axes(NamedTuple):
    """Ends of the axes: seconds, and kHz of the sound and of the model's band."""

    seconds: float
    kilohertz: float
    model_kilohertz: float


def separation_page(
    result: Mapping[str, Any], queries: Mapping[str, str], folder: Path, embed: bool
) -> str:
    """Return the page.

    Args:
        result: What result.json holds.
        queries: Name of a track -> its query.
        folder: Where the files lie, and the page will.
        embed: Whether sounds and pictures are put into the page itself; otherwise it
            links the files beside it.
    """
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    title = f"Separated: {Path(result['input']).name}"
    names = sorted(result["tracks"], key=lambda name: name != _MIXTURE)
    axes = _Axes(result["seconds"], result["fs"] / 2000, result["model_fs"] / 2000)
    sections = [
        _track(name, result["tracks"], queries, folder, embed, axes) for name in names
    ]
    facts = {
        "input": result["input"],
        "model": result["model"],
        "SHA-256 of the weights": result["weights_sha256"],
        "sound": f"{result['seconds']} s, {result['fs']} Hz, "
        f"{result['channels']} channel(s)",
        "computing": f"{result['computing_seconds']} s",
        "samples that exceeded full scale": sum(result["clipped"].values()),
    }
    rows = [
        element(
            "tr",
            element("th", key, scope="row"),
            element("td", element("code", value)),
        )
        for key, value in facts.items()
    ]
    where = "Sounds and pictures are part of this page; videos lie beside it."
    if not embed:
        where = "Sounds, pictures and videos lie beside this page; move them together."
    main = [
        element("h1", title),
        element(
            "p",
            "The tracks and the residual, everything else, add up to the input. "
            "Spectrograms share one scale, from the mixture's largest value to 60 dB "
            "below it.",
            _band(axes),
            " ",
            where,
            class_="soft",
        ),
        *sections,
        element("h2", "How"),
        element("table", element("tbody", *rows)),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(css)),
    ]
    body = [
        element("a", "Skip to the content", href="#main", class_="skip"),
        element("main", *main, id="main"),
    ]
    page = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _track(
    name: str,
    tracks: Mapping[str, Dict[str, str]],
    queries: Mapping[str, str],
    folder: Path,
    embed: bool,
    axes: _Axes,
) -> Html:
    files = tracks[name]
    what = queries.get(name)
    words = {"residual": "everything else", _MIXTURE: "the input"}.get(name, "")
    if what is not None:
        words = f"query: {what}"
    parts = [element("h2", name), element("p", words, class_="soft")]
    source = None
    if name == _MIXTURE and embed:  # all tracks add up to it
        sounds = [folder / each["sound"] for each in tracks.values() if "sound" in each]
        source = _flac(*sounds)
    elif "sound" in files:
        path = folder / files["sound"]
        source = _flac(path) if embed else quote(path.name)
    if source is not None:
        parts.append(
            element("audio", controls="", preload="metadata", src=source, title=name)
        )
    links = [
        element("a", files[kind], href=quote(files[kind]))
        for kind in ("sound", "video")
        if kind in files
    ]
    if links:
        parts.append(
            element("p", "Files: ", *(w for link in links for w in (link, " ")))
        )
    if "spectrogram" in files:
        picture = folder / files["spectrogram"]
        source = quote(picture.name)
        if embed:
            source = _data("image/png", picture.read_bytes())
        parts.append(_spectrogram(name, source, axes))
    return element("section", *parts, id=name)


def _band(axes: _Axes) -> str:
    """Say up to where the model separates."""
    if axes.model_kilohertz >= axes.kilohertz:
        return ""
    return (
        f" The model separates up to {axes.model_kilohertz:.1f} kHz, the dashed line; "
        "what lies above is in the residual."
    )


def _spectrogram(name: str, source: str, axes: _Axes) -> Html:
    """Return a picture with labels of its axes and the end of the model's band."""
    share = axes.model_kilohertz / axes.kilohertz
    line = []
    if share < 1:
        line = [element("i", class_="band", style=f"bottom: {100 * share:.2f}%")]
    return element(
        "figure",
        element(
            "div",
            element("span", f"{axes.kilohertz:.1f} kHz"),
            element("span", "0"),
            class_="frequency",
        ),
        element(
            "div",
            element("img", src=source, alt=f"Spectrogram of {name}"),
            *line,
            class_="plot",
        ),
        element(
            "div",
            element("span", "0 s"),
            element("span", f"{axes.seconds:.1f} s"),
            class_="time",
        ),
        class_="spectrogram",
    )


def _flac(*paths: Path) -> str:
    """Return the sum of some sounds as 16-bit flac in a data URL."""
    import soundfile

    found = [soundfile.read(os.fsencode(path), dtype="float32") for path in paths]
    content = io.BytesIO()
    samples = sum(samples for samples, _ in found)
    soundfile.write(content, samples, found[0][1], format="FLAC", subtype="PCM_16")
    return _data("audio/flac", content.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
