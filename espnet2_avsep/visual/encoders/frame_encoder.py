"""Frozen encoder: pictures, or short runs of them, in, one embedding each out."""

from typing import Any, Dict, Optional, Sequence

import numpy as np
import torch

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.picture import read_image
from espnet2_avsep.precision import usable_dtype
from espnet2_avsep.visual.encoders.preprocessing import Preprocessing


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
            computes faster in it (rows differ in the third digit); "auto" takes
            bfloat16 there, and float32 elsewhere without a warning.
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
        self.dim = getattr(tower, "output_dim", None)
        if self.dim is None:
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
