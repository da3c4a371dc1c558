"""Pictures for benchmarks: a texture that moves and a noise that changes."""

from typing import Iterator

import numpy as np
from PIL import Image


def moving_texture(count: int, width: int, height: int) -> Iterator[np.ndarray]:
    """Yield pictures (H, W, 3), uint8, of which each is a little moved.

    Args:
        count: Number of pictures.
        width: Of them in pixels.
        height: Of them in pixels.
    """
    rng = np.random.default_rng(0)
    canvas = np.zeros((2 * height, 2 * width, 3))
    for scale in (4, 8, 16, 32, 64, 128):
        coarse = rng.random((2 * height // scale + 2, 2 * width // scale + 2, 3)) * 255
        layer = Image.fromarray(coarse.astype(np.uint8)).resize((2 * width, 2 * height))
        canvas += np.asarray(layer) * scale**0.7
    canvas = canvas / canvas.max() * 255
    for i in range(count):
        x = round(width / 2 * (1 + np.sin(i / 40)))
        y = round(height / 2 * (1 + np.cos(i / 53)))
        view = canvas[y : y + height, x : x + width]
        view = view + rng.normal(0, 2, view.shape)
        yield np.clip(view, 0, 255).astype(np.uint8)
