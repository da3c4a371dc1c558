"""Pictures of embeddings, of instruments and of separated spectrograms."""

from typing import Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

MARKERS = "osD^vP"


def embedding_planes(
    spaces: Mapping[str, Mapping[str, np.ndarray]],
    categories: Sequence[str],
    notes: Mapping[str, str],
):
    """Draw unit-length embeddings in the plane of their two principal components.

    Args:
        spaces: Title of a panel -> kind of embedding -> (clips, D); within a panel all
            kinds have one D, and the plane is that of all of them together.
        categories: Class of each clip: the colours.
        notes: Title of a panel -> text under the title.

    Returns:
        A matplotlib figure. Crosses are means.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    from espnet2_avsep.metrics.principal_components import principal_components

    classes = sorted(set(categories))
    palette = colormaps["tab20" if len(classes) <= 20 else "gist_rainbow"]
    count = len(classes)
    colours = {
        name: palette(n if count <= 20 else n / (count - 1))
        for n, name in enumerate(classes)
    }
    figure = Figure(figsize=(5 * len(spaces) + 1.5, 5), layout="constrained")
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
        axis.legend(fontsize=8)
        axis.set_title(f"{title}\n{notes[title]}", fontsize=9)
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
    figure.legend(handles=handles, loc="outside right", fontsize=8)


def instrument_axes(
    places: Mapping[str, Tuple[float, float]],
    winners: Mapping[str, Tuple[str, bool]],
    systems: Sequence[str],
):
    """Draw instruments on their acoustic axes, coloured by the system that wins there.

    Args:
        places: Instrument -> (amplitude ratio, harmonic complexity).
        winners: Instrument -> (system, whether it leads clearly); others are gray.
        systems: All systems, in the order of the colours.

    Returns:
        A matplotlib figure. Filled: the lead is clear; hollow: it is not.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    colours = {name: colormaps["tab10"](n % 10) for n, name in enumerate(systems)}
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axis = figure.subplots()
    for name, (x, y) in places.items():
        system, clear = winners.get(name, ("", True))
        colour = colours.get(system, "gray")
        face = colour if clear else "none"
        axis.scatter(x, y, s=60, facecolors=[face], edgecolors=[colour], linewidths=1.5)
        axis.annotate(
            name, (x, y), (5, 5), textcoords="offset points", fontsize=8, color="0.2"
        )
    for name, colour in colours.items():
        axis.scatter([], [], s=60, color=[colour], label=f"{name} is best")
    if colours:
        hollow = {"facecolors": "none", "edgecolors": "gray", "linewidths": 1.5}
        axis.scatter([], [], s=60, **hollow, label="hollow: the lead is not clear")
        axis.legend(fontsize=8)
    axis.margins(0.15)
    axis.set_xlabel("amplitude ratio, max / rms (more: more transient)")
    axis.set_ylabel("harmonic complexity, 1 - HCR (more: richer)")
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
    dynamic_range_db: float = 60.0,
):
    """Draw a grid of spectrograms and pictures, one row a source.

    Args:
        rows: The panels; all rows have one length.
        title: Of the figure.
        seconds: Duration of the sounds.
        ticks: Row of the spectrograms -> label of the frequency axis.
        dynamic_range_db: Below the greatest magnitude of all panels, everything is
            black.

    Returns:
        A matplotlib figure. All spectrograms share one scale in dB.
    """
    from matplotlib.figure import Figure

    columns = len(rows[0])
    figure = Figure(
        figsize=(2.6 * columns + 0.8, 2.5 * len(rows) + 0.6), layout="constrained"
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    magnitudes = [p.magnitude for row in rows for p in row if p.magnitude is not None]
    peak = max((float(m.max()) for m in magnitudes), default=0.0)
    floor = 10 ** (-dynamic_range_db / 20)
    shown = None
    for number, (line, panels) in enumerate(zip(axes, rows, strict=True), 1):
        labelled = False
        for axis, panel in zip(line, panels, strict=True):
            axis.set_title(panel.title, fontsize=8)
            if panel.magnitude is None:
                axis.set_axis_off()
                if panel.image is not None:
                    axis.imshow(panel.image)
                else:
                    axis.text(
                        *(0.5, 0.5, panel.missing),
                        ha="center",
                        va="center",
                        fontsize=8,
                        wrap=True,
                        transform=axis.transAxes,
                    )
                continue
            level = 20 * np.log10(np.maximum(panel.magnitude / (peak or 1.0), floor))
            shown = axis.imshow(
                level,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=-dynamic_range_db,
                vmax=0,
                extent=(0, seconds, -0.5, len(level) - 0.5),
            )
            axis.set_yticks(list(ticks), list(ticks.values()) if not labelled else [])
            axis.tick_params(labelsize=7)
            if not labelled:
                axis.set_ylabel("Hz", fontsize=8)
                labelled = True
            if number == len(rows):
                axis.set_xlabel("s", fontsize=8)
            else:
                axis.set_xticklabels([])
    if shown is not None:
        figure.colorbar(shown, ax=axes, label="dB", shrink=0.8)
    figure.suptitle(title, fontsize=10)
    return figure


def value_curves(
    values: Sequence[str],
    means: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[Tuple[float, float]]],
    label: str,
):
    """Draw scores over a value, a panel for each score, with intervals.

    Args:
        values: Value of each system, in order; equal ones stand above one another and
            the line goes through their mean. They lie at equal distances.
        means: Score -> mean of each system.
        intervals: Score -> (low, high) of each system; NaN draws none.
        label: Of the axis of values.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    order = list(dict.fromkeys(values))
    places = np.array([order.index(value) for value in values])
    figure = Figure(figsize=(4.2 * len(means), 3.6), layout="constrained")
    axes = figure.subplots(1, len(means), squeeze=False)[0]
    for axis, (name, heights) in zip(axes, means.items(), strict=True):
        heights = np.asarray(heights, dtype=float)
        middle = [heights[places == n].mean() for n in range(len(order))]
        axis.plot(range(len(order)), middle, color="tab:blue", alpha=0.6)
        axis.plot(places, heights, "o", color="tab:blue")
        for place, (low, high) in zip(places, intervals[name], strict=True):
            if np.isfinite([low, high]).all():
                axis.plot([place, place], [low, high], color="black", linewidth=1)
        axis.set_xticks(range(len(order)), order)
        axis.margins(x=0.1)
        axis.set_xlabel(label)
        axis.set_ylabel(f"{name}, dB")
    return figure
