"""Turns prompts into what a model takes, for any stretch of a recording."""

import collections
import hashlib
import os
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompts import AbsPrompt, During, Region, Span
from espnet2_avsep.inference.prompts.abs_prompt import Read
from espnet2_avsep.inference.region_reader import looks, open_picture, read_region
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.picture import read_image

# Their names in version 0.1, which scripts outside the package import.
_looks, _open_picture = looks, open_picture

# Pictures (H, W, 3) uint8 -> (n, D), or (n, 3, H, W); texts -> (n, D).
EncodePictures = Callable[[List[np.ndarray]], np.ndarray]
EncodeTexts = Callable[[List[str]], np.ndarray]
# Of pictures whose embeddings are kept, 8 MiB of CLIP ViT-B/32's.
_MOST_PICTURES = 4096


class PromptReader:
    """The visual input of each source as a function of time.

    Prompts that do not change are encoded once. Regions of a video are read along with
    it, in one pass, and may only be asked for later and later times; so may functions
    of time, which are called with the begin and end of each stretch in s and return a
    prompt.

    Args:
        prompts: One per source, see SeparateAV.__call__.
        dim: Size D of an embedding; None where the model takes pictures themselves.
        encode_pictures: Encodes pictures.
        encode_texts: Encodes texts.

    Raises:
        InputError: no prompt, or one that cannot be used.
    """

    def __init__(
        self,
        prompts: Sequence[Any],
        dim: Optional[int],
        encode_pictures: EncodePictures,
        encode_texts: EncodeTexts,
    ):
        if isinstance(prompts, (str, bytes, os.PathLike, AbsPrompt)):
            raise InputError(
                f"prompts={prompts!r}: expected a list, one prompt per source."
            )
        try:
            prompts = list(prompts)
        except TypeError:
            raise InputError(
                f"prompts is a {type(prompts).__name__}; expected a list, one prompt "
                "per source."
            ) from None
        if not prompts:
            raise InputError("no prompt was given: one picture or embedding a source.")
        self.dim = dim
        self.encode_pictures = encode_pictures
        if dim is not None:  # else nothing is computed, and rows are large
            self.encode_pictures = _Remembered(encode_pictures)
        self._encode_texts = encode_texts
        # Of each source, when it sounds; None: always.
        self.spans: List[Optional[Sequence[Span]]] = [
            prompt.spans if isinstance(prompt, During) else None for prompt in prompts
        ]
        # Readers that regions of one video share, see region_reader.py.
        self.videos: Dict[Tuple, Any] = {}
        self._reads = [self.read(prompt, index) for index, prompt in enumerate(prompts)]

    def __call__(self, begin: float, end: float) -> np.ndarray:
        """Return (N, D) float32, or (N, 3, H, W), for a stretch of time in s."""
        return np.stack([read(begin, end) for read in self._reads])

    @property
    def number(self) -> int:
        """N, the number of sources."""
        return len(self._reads)

    def read(self, prompt: Any, index: int) -> Read:
        """Return a prompt of any kind as a function of time.

        Args:
            prompt: See SeparateAV.__call__.
            index: Of the prompt, from 0, for messages.

        Raises:
            InputError: the model cannot use it.
        """
        if isinstance(prompt, AbsPrompt):
            return prompt.read(self, index)
        if callable(prompt):
            return lambda begin, end: self.row(prompt(begin, end), index)
        row = self.row(prompt, index)
        return lambda begin, end: row

    def row(self, prompt: Any, index: int) -> np.ndarray:
        """Return what a prompt that does not change is to the model.

        Args:
            prompt: See read().
            index: See read().

        Returns:
            (D,), or (3, H, W) where the model takes pictures themselves.

        Raises:
            InputError: the model cannot use it.
        """
        if isinstance(prompt, AbsPrompt):
            return prompt.row(self, index)
        embedding = _as_embedding(prompt, index)
        if embedding is not None:
            return self.checked(embedding, index)
        return self.pictures([_as_picture(prompt, index)], index)

    def pictures(self, images: List[np.ndarray], index: int) -> np.ndarray:
        """Encode pictures; of several, the mean of the rows, or the middle picture."""
        if self.dim is None:
            return self.encode_pictures(images[len(images) // 2 :][:1])[0]
        return self.checked(self.encode_pictures(images), index)

    def region(self, region: Region, index: int) -> Read:
        """Return a region of a video as a function of time."""
        return read_region(region, self, index)

    def text(self, words: str, index: int) -> np.ndarray:
        """Encode words."""
        if self.dim is None:
            raise self._no_picture(index)
        return self.checked(self._encode_texts([words]), index)

    def checked(self, rows: np.ndarray, index: int) -> np.ndarray:
        """Return the mean of (V, D) or (D,), checked; prompts may differ in V.

        Raises:
            InputError: another shape, or values that are not finite.
        """
        if self.dim is None:
            raise self._no_picture(index)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or len(rows) == 0 or rows.shape[-1] != self.dim:
            raise InputError(
                f"prompt {index + 1} has the shape {rows.shape}; expected (D,) or "
                f"(frames, D) with D = {self.dim}."
            )
        if not np.isfinite(rows).all():
            raise InputError(f"prompt {index + 1} holds NaN or infinite values.")
        return rows.astype(np.float32).mean(axis=0)

    @staticmethod
    def _no_picture(index: int) -> InputError:
        return InputError(
            f"prompt {index + 1} is no picture; this model was trained on pictures "
            "themselves, and takes nothing else."
        )


class _Remembered:
    """Encodes pictures; one that was seen before, pixel by pixel, only once.

    A video may show the same picture for minutes, or a region of it that nothing moves
    in, and encoding takes longer than all other work on a picture. The last
    ``_MOST_PICTURES`` different pictures are remembered, by their digests.

    Args:
        encode: See EncodePictures; returns embeddings.
    """

    def __init__(self, encode: EncodePictures):
        self._encode = encode
        self._rows: collections.OrderedDict[bytes, np.ndarray]
        self._rows = collections.OrderedDict()

    def __call__(self, images: List[np.ndarray]) -> np.ndarray:
        keys = [_digest(image) for image in images]
        unknown = {
            key: image
            for key, image in zip(keys, images, strict=True)
            if key not in self._rows
        }
        if unknown:
            rows = self._encode(list(unknown.values()))
            self._rows.update(zip(unknown, rows, strict=True))
        found = [self._rows[key] for key in keys]
        for key in keys:
            self._rows.move_to_end(key)
        while len(self._rows) > _MOST_PICTURES:
            self._rows.popitem(last=False)
        return np.stack(found)


def _digest(image: np.ndarray) -> bytes:
    """Return what tells a picture from all others."""
    digest = hashlib.sha256(f"{image.dtype} {image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def _as_embedding(prompt: Any, index: int) -> Optional[np.ndarray]:
    """Return floats of an array, a tensor or a list; None of what is something else."""
    if isinstance(prompt, (list, tuple)):
        try:
            return np.asarray(prompt, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"prompt {index + 1} is a list that is no array of numbers ({error}); "
                "expected an embedding as (D,) or (frames, D) numbers."
            ) from None
    if hasattr(prompt, "detach"):  # a tensor
        prompt = prompt.detach().cpu()
        prompt = (prompt.float() if prompt.is_floating_point() else prompt).numpy()
    if isinstance(prompt, np.ndarray) and prompt.dtype.kind == "f":
        return prompt.astype(np.float32)
    return None


def _as_picture(prompt: Any, index: int) -> np.ndarray:
    """Return (H, W, 3) uint8 of a path, a PIL image or an array."""
    if isinstance(prompt, (str, os.PathLike)):
        return open_picture(prompt, index)
    if hasattr(prompt, "detach"):
        prompt = prompt.detach().cpu().numpy()
    try:
        return read_image(prompt, name=f"prompt {index + 1}")
    except ClipError as error:
        raise InputError(
            f"{error} A picture was expected, or an embedding as floats."
        ) from error
