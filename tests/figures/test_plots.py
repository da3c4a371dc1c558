"""What the pictures hold, read back from the figures; how they look is for the eye."""

import numpy as np
from PIL import Image

from espnet2_avsep.figures.plots import (
    Panel,
    embedding_planes,
    instrument_axes,
    spectrogram_grid,
    spectrogram_panels,
    value_curves,
    write_png,
)


def test_a_figure_is_drawn_once_and_written_as_savefig_would(tmp_path):
    rng = np.random.default_rng(0)
    panels = {
        "mixture": rng.random((8, 6)),
        **{n: rng.random((2, 8, 6)) for n in ("reference", "estimate", "mask")},
    }
    figure = spectrogram_panels(panels, "mix")
    pixels = write_png(figure, tmp_path / "drawn.png")
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.std() > 10
    spectrogram_panels(panels, "mix").savefig(tmp_path / "saved.png", dpi=100)
    for name in ("drawn.png", "saved.png"):
        found = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        np.testing.assert_array_equal(found, pixels)


def test_planes_show_means_apart_by_the_gap():
    rng = np.random.default_rng(0)
    sound = np.array([3.0, 0, 0]) + 1e-3 * rng.standard_normal((6, 3))
    picture = np.array([0, 7.0, 0]) + 1e-3 * rng.standard_normal((6, 3))
    kinds = {"bottleneck": sound, "visual": picture}
    figure = embedding_planes({"a": kinds}, ["x", "y"] * 3, {"a": "note"})
    axis = figure.axes[0]
    points = [c.get_offsets() for c in axis.collections if len(c.get_offsets())]
    clouds = [p for p in points if len(p) == 6]
    assert len(clouds) == 2
    distance = np.linalg.norm(clouds[0].mean(axis=0) - clouds[1].mean(axis=0))
    np.testing.assert_allclose(distance, np.sqrt(2), atol=1e-3)
    assert "note" in axis.get_title()
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["bottleneck", "visual"]


def test_instruments_lie_where_they_are():
    places = {"oud": (3.0, 0.4), "ney": (1.5, 0.1), "bell": (6.0, 0.2)}
    winners = {"oud": ("late", True), "ney": ("middle", False)}
    figure = instrument_axes(places, winners, ["middle", "late"])
    axis = figure.axes[0]
    dots = axis.collections[:3]
    found = [tuple(d.get_offsets()[0]) for d in dots]
    assert found == [*places.values()]
    # Hollow: not clear.
    assert [d.get_facecolors()[0][3] for d in dots] == [1, 0, 1]
    edges = [tuple(d.get_edgecolors()[0][:3]) for d in dots]
    assert len(set(edges)) == 3
    assert [text.get_text() for text in axis.texts] == [*places]


def test_grid_has_one_scale():
    loud, soft = np.ones((8, 5)), np.full((8, 5), 0.1)
    image = np.zeros((4, 4, 3), np.uint8)
    rows = [
        [Panel("p", image=image), Panel("mixture", loud), Panel("x", soft)],
        [Panel("p", missing="gone"), Panel("mixture", loud), Panel("x", 0 * soft)],
    ]
    figure = spectrogram_grid(rows, "t", 2.0, {1.0: "100", 6.0: "1000"}, 40)
    axes = np.array(figure.axes[:6]).reshape(2, 3)
    levels = [[a.images[0].get_array() for a in line[1:]] for line in axes]
    assert np.all(levels[0][0] == 0) and np.allclose(levels[0][1], -20)
    assert np.all(levels[1][1] == -40)  # silence is the floor, not minus infinity
    assert axes[1, 0].texts[0].get_text() == "gone" and not axes[1, 0].images
    labels = [t.get_text() for t in axes[0, 1].get_yticklabels()]
    assert labels == ["100", "1000"] and axes[0, 1].get_xlim() == (0, 2)
    assert [line[1].get_xlabel() for line in axes] == ["", "s"]


def test_equal_values_stand_above_one_another():
    values = ["0", "0.3", "0.3"]
    nothing = (np.nan, np.nan)
    figure = value_curves(
        values, {"SDR": [1, 2, 4]}, {"SDR": [(0, 2), (1, 3), nothing]}, "lambda"
    )
    line, dots, *bars = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [1, 3])
    np.testing.assert_array_equal(dots.get_xdata(), [0, 1, 1])
    assert [list(bar.get_ydata()) for bar in bars] == [[0, 2], [1, 3]]
