"""Frozen encoder: pictures, or short runs of them, in, one embedding each out."""

import hashlib
import logging
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.layers.precision import usable_dtype
from espnet2_avsep.media.picture import Resize, read_image, scale
from espnet2_avsep.visual.encoder_info import RANDOM

# How long to wait for the server of the weights before taking it as out of reach, s.
CONNECT_TIMEOUT = 10


class Preprocessing(NamedTuple):
    """What an encoder expects of its input.

    Attributes:
        resize: How pictures are scaled.
        crop: Height and width of the input in pixels; what is larger is cropped around
            its centre, what is smaller is padded.
        mean: Subtracted per channel, of values in [0, 1].
        std: Divided by per channel.
        fill: Value of padded pixels, 0-255.
    """

    resize: Resize
    crop: Tuple[int, int]
    mean: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: Tuple[float, float, float] = (1.0, 1.0, 1.0)
    fill: int = 0

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Scale a picture where it does not have the right size yet, and crop it.

        Args:
            image: (H, W, 3), uint8, RGB.

        Returns:
            (crop height, crop width, 3), uint8.
        """
        target = self.resize.target(*image.shape[:2])
        image = scale(image, target, self.resize.interpolation, keep=self.crop)
        return _centre(image, self.crop, self.fill)


class FrameEncoder:
    """Frozen image tower with the scaling, crop and normalisation that it expects.

    The embedding is the tower's output, without normalisation to unit length.

    A row depends only on its picture, to the last bit on one machine: every batch has
    the same shape (the last one is padded with zeros), so how clips are spread over
    jobs, or where an interrupted job went on, leaves no trace. Without padding, rows
    may differ in the last digits with the size of the batch.

    Args:
        tower: Maps (B, 3, H, W) to (B, D), or (B, 3, F, H, W) with a window. Put into
            eval mode, without gradients.
        preprocessing: What the tower expects of each picture.
        info: What it is, for logs and result files.
        device: Where it computes.
        dtype: Of the tower's weights: "float32", or "bfloat16" where the device
            computes faster in it (rows differ in the third digit).
        batch_size: Pictures, or windows, per batch.
        window: Number F of pictures in a row that the tower takes at a time; None: it
            takes single pictures.
        pad: Whether batches are padded.
    """

    def __init__(
        self,
        tower: torch.nn.Module,
        preprocessing: Preprocessing,
        info: Dict[str, Any],
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 32,
        window: Optional[int] = None,
        pad: bool = True,
    ):
        self.device = torch.device(device)
        self.dtype = usable_dtype(dtype, self.device)
        # The weights themselves: autocast would convert frozen ones for every batch.
        tower = tower.eval().requires_grad_(False)
        self.tower = tower.to(self.device, self.dtype)
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.window = window
        self.pad = pad
        self._input = (*preprocessing.crop, 3)
        if window is not None:
            self._input = (window, *self._input)
        channels = (3, *[1] * (len(self._input) - 1))
        self._mean = torch.tensor(preprocessing.mean, device=self.device).view(channels)
        self._std = torch.tensor(preprocessing.std, device=self.device).view(channels)
        blank = np.zeros((1, *self._input), dtype=np.uint8)
        self.dim = int(self._forward(self.normalise(blank)).shape[1])
        self.info = {**info, "dim": self.dim}
        self.info["dtype"] = str(self.dtype).removeprefix("torch.")

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Bring a picture to the tower's size; see :meth:`Preprocessing.fit`."""
        return self.preprocessing.fit(image)

    def normalise(self, images: np.ndarray) -> torch.Tensor:
        """Bring fitted pictures to the tower's input.

        Args:
            images: (B, H, W, 3), or windows (B, F, H, W, 3), uint8.

        Returns:
            (B, 3, H, W) or (B, 3, F, H, W), float32, on the device.
        """
        batch = torch.from_numpy(images).to(self.device).movedim(-1, 1)
        return (batch.float() / 255 - self._mean) / self._std

    def encode(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embed pictures of any size.

        Args:
            images: n pictures, whatever read_image takes.

        Returns:
            (n, D), float32.
        """
        fitted = [self.fit(read_image(image)) for image in images]
        parts = [
            self.encode_fitted(fitted[i : i + self.batch_size])
            for i in range(0, len(fitted), self.batch_size)
        ]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])

    def encode_fitted(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embed at most a batch of pictures that :meth:`fit` returned.

        Args:
            images: n pictures (H, W, 3), or windows (F, H, W, 3), uint8.

        Returns:
            (n, D), float32.
        """
        size = self.batch_size if self.pad else len(images)
        batch = np.zeros((size, *self._input), dtype=np.uint8)
        batch[: len(images)] = np.stack(images)
        return self._forward(self.normalise(batch))[: len(images)].cpu().numpy()

    @torch.inference_mode()
    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        try:
            return self.tower(batch.to(self.dtype)).float()
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"{self.device}: out of memory with {len(batch)} "
                f"{'windows' if self.window else 'pictures'} a batch; "
                "give a smaller --batch_size."
            ) from error


def _centre(image: np.ndarray, size: Tuple[int, int], fill: int) -> np.ndarray:
    """Crop or pad a picture (H, W, 3) around its centre (torchvision's rounding)."""
    height, width = image.shape[:2]
    pad_h, pad_w = max(0, size[0] - height), max(0, size[1] - width)
    if pad_h or pad_w:
        image = np.pad(
            image,
            (
                (pad_h // 2, pad_h - pad_h // 2),
                (pad_w // 2, pad_w - pad_w // 2),
                (0, 0),
            ),
            constant_values=fill,
        )
        height, width = image.shape[:2]
    top = round((height - size[0]) / 2.0)
    left = round((width - size[1]) / 2.0)
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def file_sha256(path: str) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def warn_random(what: str, seed: int) -> str:
    """Log that an encoder is not trained; return how result files name its weights."""
    logging.warning(
        "%s: randomly initialised (seed %d), not CLIP and not trained on anything: its "
        "embeddings tell pictures apart only roughly",
        what,
        seed,
    )
    return f"random, seed {seed}"


def silence(url: str) -> Optional[str]:
    """Return why a server does not answer within CONNECT_TIMEOUT, or None if it does.

    Clients that fetch weights repeat an attempt for minutes; this asks once before.
    """
    from huggingface_hub.utils import get_session

    try:
        get_session().head(url, timeout=CONNECT_TIMEOUT)
    except Exception as error:  # of whichever HTTP library the hub's client uses
        return str(error) or type(error).__name__
    return None


def weights_error(
    model: str,
    name: str,
    folder: str,
    url: str,
    problem: str,
    option: str = "--visual_pretrained",
) -> InputError:
    """Return the error for weights that are neither here nor within reach."""
    return InputError(
        f"{option} {name}: the weights of {model} are not in {folder} and "
        f"cannot be fetched from {url} ({problem}). With a network, run this once; "
        f"without one, copy the file here and give its path: {option} "
        f"/path/to.pt; or ask for an untrained encoder by name: {option} {RANDOM}."
    )
