"""Pictures of separations and of scores."""

from typing import Mapping, Sequence, Tuple

import numpy as np

DYNAMIC_RANGE_DB = 60


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


def spectrogram(magnitude: np.ndarray, seconds: float, fs: int, title: str):
    """Draw a spectrogram in dB.

    Args:
        magnitude: (F, T) from 0 Hz to fs / 2; 1 is drawn as 0 dB.
        seconds: What its columns span.
        fs: Sampling rate in Hz.
        title: Title of the figure.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(
        20 * np.log10(np.maximum(magnitude, 1e-10)),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-DYNAMIC_RANGE_DB,
        vmax=0,
        extent=(0, seconds, 0, fs / 2000),
    )
    axis.set_xlabel("s")
    axis.set_ylabel("kHz")
    axis.set_title(title, fontsize=10, parse_math=False)
    figure.colorbar(image, label="dB")
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
