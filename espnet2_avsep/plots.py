"""Pictures of separations and of scores."""

from typing import Mapping, Optional, Sequence, Tuple

import numpy as np

DYNAMIC_RANGE_DB = 60
# Mean gates below and above which DGFNet calls a source extreme.
EXTREMES = (0.3, 0.7)


def save_drawn(figure, path) -> np.ndarray:
    """Draw a figure once, write it as PNG and return it.

    Args:
        figure: A matplotlib figure.
        path: The file.

    Returns:
        Its pixels (H, W, 3), uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    Image.fromarray(pixels).save(path, format="PNG")
    return pixels


def spectrogram_panels(panels: Mapping[str, np.ndarray], title: str):
    """Draw one row per source: mixture, reference, estimate, mask.

    Args:
        panels: ``mixture`` (F, T), and ``reference``, ``estimate``, ``mask``
            (N, F, T): magnitudes with the lowest frequency first.
        title: Title of the figure.

    Returns:
        A matplotlib figure. Magnitudes share one scale in dB, 0 dB being the mixture's
        maximum.
    """
    from matplotlib.figure import Figure

    num_sources = len(panels["reference"])
    figure = Figure(figsize=(11, 2.6 * num_sources + 0.5), layout="constrained")
    axes = figure.subplots(num_sources, 4, squeeze=False, sharex=True, sharey=True)
    peak = max(float(panels["mixture"].max()), 1e-10)
    for source, row in enumerate(axes):
        images = [
            ("mixture", panels["mixture"]),
            (f"reference {source + 1}", panels["reference"][source]),
            (f"estimate {source + 1}", panels["estimate"][source]),
        ]
        for axis, (name, magnitude) in zip(row, images, strict=False):
            level = 20 * np.log10(np.maximum(magnitude / peak, 1e-10))
            spectrum = axis.imshow(
                level,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=-DYNAMIC_RANGE_DB,
                vmax=0,
            )
            axis.set_title(name, fontsize=9)
        mask = row[3].imshow(
            panels["mask"][source],
            origin="lower",
            aspect="auto",
            cmap="gray",
            vmin=0,
            vmax=max(1.0, float(panels["mask"].max())),
        )
        row[3].set_title(f"mask {source + 1}", fontsize=9)
        row[0].set_ylabel("frequency bin")
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    figure.colorbar(spectrum, ax=axes[:, :3], label="dB", shrink=0.8)
    figure.colorbar(mask, ax=axes[:, 3], shrink=0.8)
    figure.suptitle(title, fontsize=10)
    return figure


def score_bars(
    means: Mapping[str, float],
    intervals: Mapping[str, Tuple[float, float]],
    label: str,
):
    """Draw a bar for each system, with its interval.

    Args:
        means: System -> mean.
        intervals: System -> (low, high); NaN draws none.
        label: Of the axis of scores.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.45 * len(means) + 1.2), layout="constrained")
    axis = figure.subplots()
    for place, (name, mean) in enumerate(means.items()):
        low, high = intervals[name]
        axis.barh(place, mean, color="tab:blue", alpha=0.6)
        if np.isfinite([low, high]).all():
            axis.plot([low, high], [place, place], color="black")
        axis.text(mean, place, f" {mean:.2f}", va="bottom", fontsize=8)
    axis.set_yticks(range(len(means)), list(means))
    axis.invert_yaxis()
    axis.axvline(0, color="gray", linewidth=0.8)
    axis.set_xlabel(label)
    return figure


def instrument_bars(
    means: Mapping[str, Mapping[str, float]], systems: Sequence[str], label: str
):
    """Draw a group of bars for each instrument, one bar a system.

    Args:
        means: Instrument -> system -> mean.
        systems: Which systems, in this order.
        label: Of the axis of scores.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    width = 0.8 / len(systems)
    figure = Figure(figsize=(1.5 + 1.1 * len(means), 4), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(means))
    for n, name in enumerate(systems):
        heights = [row[name] for row in means.values()]
        axis.bar(places + (n - (len(systems) - 1) / 2) * width, heights, width)
    axis.set_xticks(places, list(means), rotation=30, ha="right", fontsize=8)
    axis.legend(systems, fontsize=8)
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.set_ylabel(label)
    return figure


def gate_histogram(values: Sequence[float], title: str):
    """Draw how the mean gates of sources are distributed (DGFNet, figure 6).

    Args:
        values: Mean gate of each source, 0 to 1.
        title: Title of the figure.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
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
    axis.set_title(title, fontsize=10)
    return figure


def gate_maps(rows: Sequence[Tuple[str, np.ndarray, np.ndarray]], title: str):
    """Draw gates beside their mixtures, a row each (DGFNet, figure 7).

    Args:
        rows: Title, mixture (F, T) and gate (H, W), lowest frequency first.
        title: Title of the figure.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.3 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), (name, mixture, gate) in zip(axes, rows, strict=True):
        _draw_level(left, mixture)
        left.set_title(name, fontsize=8)
        image = right.imshow(gate, origin="lower", aspect="auto", vmin=0, vmax=1)
        right.set_title(f"gate, mean {gate.mean():.3f}", fontsize=8)
        left.set_ylabel("frequency bin")
    for axis in axes[-1]:
        axis.set_xlabel("frame (gate: of its map)")
    figure.colorbar(image, ax=axes[:, 1], shrink=0.8)
    figure.suptitle(title, fontsize=10)
    return figure


def attention_maps(
    mixture: np.ndarray,
    sources: Sequence[Tuple[str, np.ndarray, Optional[np.ndarray]]],
    title: str,
):
    """Draw where the query of each source looks, a row each.

    Args:
        mixture: (F, T), lowest frequency first.
        sources: Name, attention in the sound (layers, H, W), and in the motion (S,) or
            None.
        title: Title of the figure.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    layers = len(sources[0][1])
    with_motion = sources[0][2] is not None
    columns = 1 + layers + with_motion
    figure = Figure(
        figsize=(2.6 * columns, 2.3 * len(sources) + 0.5), layout="constrained"
    )
    axes = figure.subplots(len(sources), columns, squeeze=False)
    for row, (name, attention, motion) in zip(axes, sources, strict=True):
        _draw_level(row[0], mixture)
        row[0].set_title(f"mixture; {name}", fontsize=8)
        row[0].set_ylabel("frequency bin")
        for number, axis in enumerate(row[1 : 1 + layers], 1):
            axis.imshow(attention[number - 1], origin="lower", aspect="auto")
            axis.set_title(
                f"layer {number}, at most {attention[number - 1].max():.2g}", fontsize=8
            )
        if with_motion:
            row[-1].bar(range(len(motion)), motion, color="tab:orange")
            row[-1].set_title("motion, by step", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_level(axis, magnitude: np.ndarray) -> None:
    """Draw a magnitude (F, T) in dB below its maximum."""
    peak = max(float(magnitude.max()), 1e-10)
    level = 20 * np.log10(np.maximum(magnitude / peak, 1e-10))
    axis.imshow(
        level,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-DYNAMIC_RANGE_DB,
        vmax=0,
    )


def score_curves(
    curves: Mapping[str, Sequence[Sequence[float]]], across: str, label: str
):
    """Draw a line for each system over a number, with its intervals.

    Args:
        curves: System -> points (number, mean, low, high); NaN draws no interval.
        across: What the number is.
        label: Of the axis of scores.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), layout="constrained")
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
    axis.legend(fontsize=8)
    return figure
