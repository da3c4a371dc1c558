"""All figures that are drawn with matplotlib, in one style.

Every function returns a matplotlib figure; `write_png` draws and writes it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.figures.spectrogram import DYNAMIC_RANGE_DB, decibels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Mean gates below and above which DGFNet calls a source extreme.
EXTREMES = (0.3, 0.7)
MARKERS = "osD^vP"
# Sizes of text in points.
TITLE, PANEL, LABEL, TICK = 10, 9, 8, 7


def write_png(figure: "Figure", path: PathLike, dpi: int = 100) -> np.ndarray:
    """Draw a figure once, write it as PNG and return it.

    The file holds no date and no version: the same figure gives the same bytes.

    Args:
        figure: The figure.
        path: The file; its folder is made where it is missing.
        dpi: Pixels per inch.

    Returns:
        Its pixels (H, W, 3), uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as f:
        Image.fromarray(pixels).save(f, format="PNG", dpi=(dpi, dpi))
    return pixels


def _new(width: float, height: float) -> "Figure":
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _map(axis: "Axes", values: np.ndarray, **style) -> "AxesImage":
    """Draw values (F, T), the lowest frequency first."""
    return axis.imshow(values, origin="lower", aspect="auto", **style)


def _level(
    axis: "Axes",
    magnitude: np.ndarray,
    peak: float = 0.0,
    dynamic_range_db: float = DYNAMIC_RANGE_DB,
    **style,
) -> "AxesImage":
    """Draw a magnitude (F, T) in dB below a peak (0: its own maximum)."""
    peak = peak or max(float(magnitude.max()), 1e-10)
    level = decibels(magnitude, peak, dynamic_range_db)
    return _map(axis, level, cmap="magma", vmin=-dynamic_range_db, vmax=0, **style)


def _interval(axis: "Axes", x, y, **style) -> None:
    """Draw an interval, a line between two points; none where an end is NaN."""
    if np.isfinite([*x, *y]).all():
        axis.plot(x, y, color="black", **style)


def spectrogram_panels(panels: Mapping[str, np.ndarray], title: str) -> "Figure":
    """Draw one row per source: mixture, reference, estimate, mask.

    Args:
        panels: ``mixture`` (F, T), and ``reference``, ``estimate``, ``mask``
            (N, F, T): magnitudes with the lowest frequency first.
        title: Title of the figure.

    Returns:
        The figure. Magnitudes share one scale in dB, 0 dB being the mixture's
        maximum.
    """
    num_sources = len(panels["reference"])
    figure = _new(11, 2.6 * num_sources + 0.5)
    axes = figure.subplots(num_sources, 4, squeeze=False, sharex=True, sharey=True)
    peak = max(float(panels["mixture"].max()), 1e-10)
    top = max(1.0, float(panels["mask"].max()))
    for source, row in enumerate(axes):
        images = [
            ("mixture", panels["mixture"]),
            (f"reference {source + 1}", panels["reference"][source]),
            (f"estimate {source + 1}", panels["estimate"][source]),
        ]
        for axis, (name, magnitude) in zip(row, images, strict=False):
            spectrum = _level(axis, magnitude, peak)
            axis.set_title(name, fontsize=PANEL)
        mask = _map(row[3], panels["mask"][source], cmap="gray", vmin=0, vmax=top)
        row[3].set_title(f"mask {source + 1}", fontsize=PANEL)
        row[0].set_ylabel("frequency bin")
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    figure.colorbar(spectrum, ax=axes[:, :3], label="dB", shrink=0.8)
    figure.colorbar(mask, ax=axes[:, 3], shrink=0.8)
    figure.suptitle(title, fontsize=TITLE)
    return figure


def gate_maps(
    rows: Sequence[Tuple[str, np.ndarray, np.ndarray]], title: str
) -> "Figure":
    """Draw gates beside their mixtures, a row each (DGFNet, figure 7).

    Args:
        rows: Title, mixture (F, T) and gate (H, W), lowest frequency first.
        title: Title of the figure.
    """
    figure = _new(7, 2.3 * len(rows) + 0.6)
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), (name, mixture, gate) in zip(axes, rows, strict=True):
        _level(left, mixture)
        left.set_title(name, fontsize=LABEL)
        image = _map(right, gate, vmin=0, vmax=1)
        right.set_title(f"gate, mean {gate.mean():.3f}", fontsize=LABEL)
        left.set_ylabel("frequency bin")
    for axis in axes[-1]:
        axis.set_xlabel("frame (gate: of its map)")
    figure.colorbar(image, ax=axes[:, 1], shrink=0.8)
    figure.suptitle(title, fontsize=TITLE)
    return figure


def attention_maps(
    mixture: np.ndarray,
    sources: Sequence[Tuple[str, np.ndarray, Optional[np.ndarray]]],
    title: str,
) -> "Figure":
    """Draw where the query of each source looks, a row each.

    Args:
        mixture: (F, T), lowest frequency first.
        sources: Name, attention in the sound (layers, H, W), and in the motion (S,) or
            None.
        title: Title of the figure.
    """
    layers = len(sources[0][1])
    with_motion = sources[0][2] is not None
    columns = 1 + layers + with_motion
    figure = _new(2.6 * columns, 2.3 * len(sources) + 0.5)
    axes = figure.subplots(len(sources), columns, squeeze=False)
    for row, (name, attention, motion) in zip(axes, sources, strict=True):
        _level(row[0], mixture)
        row[0].set_title(f"mixture; {name}", fontsize=LABEL)
        row[0].set_ylabel("frequency bin")
        for number, axis in enumerate(row[1 : 1 + layers], 1):
            _map(axis, attention[number - 1])
            axis.set_title(
                f"layer {number}, at most {attention[number - 1].max():.2g}",
                fontsize=LABEL,
            )
        if with_motion:
            row[-1].bar(range(len(motion)), motion, color="tab:orange")
            row[-1].set_title("motion, by step", fontsize=LABEL)
    figure.suptitle(title, fontsize=TITLE)
    return figure


class Panel(NamedTuple):
    """One picture of a grid.

    Attributes:
        title: Above it.
        magnitude: (F, T), the lowest frequency first; None where there is none.
        image: (H, W, 3), uint8, instead of a spectrogram.
        missing: What to write where there is neither.
    """

    title: str
    magnitude: Optional[np.ndarray] = None
    image: Optional[np.ndarray] = None
    missing: str = ""


def spectrogram_grid(
    rows: Sequence[Sequence[Panel]],
    title: str,
    seconds: float,
    ticks: Mapping[float, str],
    dynamic_range_db: float = DYNAMIC_RANGE_DB,
) -> "Figure":
    """Draw a grid of spectrograms and pictures, one row a source.

    Args:
        rows: The panels; all rows have one length.
        title: Of the figure.
        seconds: Duration of the sounds.
        ticks: Row of the spectrograms -> label of the frequency axis.
        dynamic_range_db: Below the greatest magnitude of all panels, everything is
            black.

    Returns:
        The figure. All spectrograms share one scale in dB.
    """
    columns = len(rows[0])
    figure = _new(2.6 * columns + 0.8, 2.5 * len(rows) + 0.6)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    magnitudes = [p.magnitude for row in rows for p in row if p.magnitude is not None]
    peak = max((float(m.max()) for m in magnitudes), default=0.0)
    shown = None
    for number, (line, panels) in enumerate(zip(axes, rows, strict=True), 1):
        labelled = False
        for axis, panel in zip(line, panels, strict=True):
            axis.set_title(panel.title, fontsize=LABEL)
            if panel.magnitude is None:
                axis.set_axis_off()
                if panel.image is not None:
                    axis.imshow(panel.image)
                else:
                    axis.text(
                        *(0.5, 0.5, panel.missing),
                        ha="center",
                        va="center",
                        fontsize=LABEL,
                        wrap=True,
                        transform=axis.transAxes,
                    )
                continue
            extent = (0, seconds, -0.5, len(panel.magnitude) - 0.5)
            shown = _level(
                axis, panel.magnitude, peak or 1.0, dynamic_range_db, extent=extent
            )
            axis.set_yticks(list(ticks), list(ticks.values()) if not labelled else [])
            axis.tick_params(labelsize=TICK)
            if not labelled:
                axis.set_ylabel("Hz", fontsize=LABEL)
                labelled = True
            if number == len(rows):
                axis.set_xlabel("s", fontsize=LABEL)
            else:
                axis.set_xticklabels([])
    if shown is not None:
        figure.colorbar(shown, ax=axes, label="dB", shrink=0.8)
    figure.suptitle(title, fontsize=TITLE)
    return figure


def score_bars(
    means: Mapping[str, float],
    intervals: Mapping[str, Tuple[float, float]],
    label: str,
) -> "Figure":
    """Draw a bar for each system, with its interval.

    Args:
        means: System -> mean.
        intervals: System -> (low, high); NaN draws none.
        label: Of the axis of scores.
    """
    figure = _new(7, 0.45 * len(means) + 1.2)
    axis = figure.subplots()
    for place, (name, mean) in enumerate(means.items()):
        low, high = intervals[name]
        axis.barh(place, mean, color="tab:blue", alpha=0.6)
        _interval(axis, [low, high], [place, place])
        axis.text(mean, place, f" {mean:.2f}", va="bottom", fontsize=LABEL)
    axis.set_yticks(range(len(means)), list(means))
    axis.invert_yaxis()
    axis.axvline(0, color="gray", linewidth=0.8)
    axis.set_xlabel(label)
    return figure


def instrument_bars(
    means: Mapping[str, Mapping[str, float]], systems: Sequence[str], label: str
) -> "Figure":
    """Draw a group of bars for each instrument, one bar a system.

    Args:
        means: Instrument -> system -> mean.
        systems: Which systems, in this order.
        label: Of the axis of scores.
    """
    width = 0.8 / len(systems)
    figure = _new(1.5 + 1.1 * len(means), 4)
    axis = figure.subplots()
    places = np.arange(len(means))
    for n, name in enumerate(systems):
        heights = [row[name] for row in means.values()]
        axis.bar(places + (n - (len(systems) - 1) / 2) * width, heights, width)
    axis.set_xticks(places, list(means), rotation=30, ha="right", fontsize=LABEL)
    axis.legend(systems, fontsize=LABEL)
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.set_ylabel(label)
    return figure


def score_curves(
    curves: Mapping[str, Sequence[Sequence[float]]], across: str, label: str
) -> "Figure":
    """Draw a line for each system over a number, with its intervals.

    Args:
        curves: System -> points (number, mean, low, high); NaN draws no interval.
        across: What the number is.
        label: Of the axis of scores.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _new(7, 4)
    axis = figure.subplots()
    # Beside one another, so that intervals do not hide each other.
    shifts = np.linspace(-0.1, 0.1, max(len(curves), 2))
    for shift, (name, points) in zip(shifts, curves.items(), strict=False):
        number, mean, low, high = np.asarray(points, dtype=float).T
        (line,) = axis.plot(number + shift, mean, marker="o", label=name)
        axis.vlines(number + shift, low, high, color=line.get_color(), linewidth=1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel(across)
    axis.set_ylabel(label)
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.legend(fontsize=LABEL)
    return figure


def value_curves(
    values: Sequence[str],
    means: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[Tuple[float, float]]],
    label: str,
) -> "Figure":
    """Draw scores over a value, a panel for each score, with intervals.

    Args:
        values: Value of each system, in order; equal ones stand above one another and
            the line goes through their mean. They lie at equal distances.
        means: Score -> mean of each system.
        intervals: Score -> (low, high) of each system; NaN draws none.
        label: Of the axis of values.
    """
    order = list(dict.fromkeys(values))
    places = np.array([order.index(value) for value in values])
    figure = _new(4.2 * len(means), 3.6)
    axes = figure.subplots(1, len(means), squeeze=False)[0]
    for axis, (name, heights) in zip(axes, means.items(), strict=True):
        heights = np.asarray(heights, dtype=float)
        middle = [heights[places == n].mean() for n in range(len(order))]
        axis.plot(range(len(order)), middle, color="tab:blue", alpha=0.6)
        axis.plot(places, heights, "o", color="tab:blue")
        for place, (low, high) in zip(places, intervals[name], strict=True):
            _interval(axis, [place, place], [low, high], linewidth=1)
        axis.set_xticks(range(len(order)), order)
        axis.margins(x=0.1)
        axis.set_xlabel(label)
        axis.set_ylabel(f"{name}, dB")
    return figure


def gate_histogram(values: Sequence[float], title: str) -> "Figure":
    """Draw how the mean gates of sources are distributed (DGFNet, figure 6).

    Args:
        values: Mean gate of each source, 0 to 1.
        title: Title of the figure.
    """
    figure = _new(6, 3.6)
    axis = figure.subplots()
    axis.hist(values, bins=np.linspace(0, 1, 41), color="tab:blue", alpha=0.7)
    for place in EXTREMES:
        axis.axvline(place, color="gray", linestyle=":", linewidth=0.8)
    axis.set_ylim(top=1.15 * axis.get_ylim()[1])
    mean = float(np.mean(values))
    axis.axvline(mean, color="black", linewidth=1)
    axis.text(
        mean, 0.97, f" {mean:.3f}", transform=axis.get_xaxis_transform(), va="top"
    )
    axis.set_xlim(0, 1)
    axis.set_xlabel(
        "mean gate of a source (0: audio only, 1: product with the picture)"
    )
    axis.set_ylabel("sources")
    axis.set_title(title, fontsize=TITLE)
    return figure


def instrument_axes(
    places: Mapping[str, Tuple[float, float]],
    winners: Mapping[str, Tuple[str, bool]],
    systems: Sequence[str],
) -> "Figure":
    """Draw instruments on their acoustic axes, coloured by the system that wins there.

    Args:
        places: Instrument -> (amplitude ratio, harmonic complexity).
        winners: Instrument -> (system, whether it leads clearly); others are gray.
        systems: All systems, in the order of the colours.

    Returns:
        The figure. Filled: the lead is clear; hollow: it is not.
    """
    from matplotlib import colormaps

    colours = {name: colormaps["tab10"](n % 10) for n, name in enumerate(systems)}
    figure = _new(7.5, 5.5)
    axis = figure.subplots()
    for name, (x, y) in places.items():
        system, clear = winners.get(name, ("", True))
        colour = colours.get(system, "gray")
        face = colour if clear else "none"
        axis.scatter(x, y, s=60, facecolors=[face], edgecolors=[colour], linewidths=1.5)
        axis.annotate(
            name,
            (x, y),
            (5, 5),
            textcoords="offset points",
            fontsize=LABEL,
            color="0.2",
        )
    for name, colour in colours.items():
        axis.scatter([], [], s=60, color=[colour], label=f"{name} is best")
    if colours:
        hollow = {"facecolors": "none", "edgecolors": "gray", "linewidths": 1.5}
        axis.scatter([], [], s=60, **hollow, label="hollow: the lead is not clear")
        axis.legend(fontsize=LABEL)
    axis.margins(0.15)
    axis.set_xlabel("amplitude ratio, max / rms (more: more transient)")
    axis.set_ylabel("harmonic complexity, 1 - HCR (more: richer)")
    return figure


def embedding_planes(
    spaces: Mapping[str, Mapping[str, np.ndarray]],
    categories: Sequence[str],
    notes: Mapping[str, str],
) -> "Figure":
    """Draw unit-length embeddings in the plane of their two principal components.

    Args:
        spaces: Title of a panel -> kind of embedding -> (clips, D); within a panel all
            kinds have one D, and the plane is that of all of them together.
        categories: Class of each clip: the colours.
        notes: Title of a panel -> text under the title.

    Returns:
        The figure. Crosses are means.
    """
    from matplotlib import colormaps

    from espnet2_avsep.metrics.principal_components import principal_components

    classes = sorted(set(categories))
    palette = colormaps["tab20" if len(classes) <= 20 else "gist_rainbow"]
    count = len(classes)
    colours = {
        name: palette(n if count <= 20 else n / (count - 1))
        for n, name in enumerate(classes)
    }
    figure = _new(5 * len(spaces) + 1.5, 5)
    axes = figure.subplots(1, len(spaces), squeeze=False)[0]
    for axis, (title, kinds) in zip(axes, spaces.items(), strict=True):
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in kinds.values()]
        points, share = principal_components(np.concatenate(unit))
        parts = np.split(points, len(unit))
        for (kind, marker), part in zip(
            zip(kinds, MARKERS, strict=False), parts, strict=True
        ):
            axis.scatter(
                part[:, 0],
                part[:, 1],
                c=[colours[name] for name in categories],
                marker=marker,
                s=18,
                alpha=0.8,
            )
            axis.scatter(*part.mean(axis=0), c="black", marker="x", s=70)
            axis.scatter([], [], c="gray", marker=marker, label=kind)
        axis.legend(fontsize=LABEL)
        axis.set_title(f"{title}\n{notes[title]}", fontsize=PANEL)
        axis.set_xlabel(f"principal components 1 and 2: {100 * share:.0f} %")
        axis.set_aspect("equal", "datalim")
    _legend(figure, colours)
    return figure


def _legend(figure, colours: Mapping[str, Tuple]) -> None:
    """Name the classes beside the panels; many classes would leave no room for them."""
    from matplotlib.lines import Line2D

    if len(colours) > 25:
        return
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=name)
        for name, colour in colours.items()
    ]
    figure.legend(handles=handles, loc="outside right", fontsize=LABEL)
