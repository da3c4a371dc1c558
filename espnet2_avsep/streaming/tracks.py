"""From pieces of a recording to pieces of its tracks, at the recording's own rate."""

import itertools
from typing import Iterator, List, Optional

import numpy as np

from espnet2_avsep.errors import InputError
from espnet2_avsep.streaming.chunked import ChunkedProcess, ChunkPlan, Process
from espnet2_avsep.streaming.resampler import Resampler

CHANNELS = ("mean", "each")
# Tracks are rounded to steps of 24-bit audio where their residual is wanted: sums of
# such numbers are exact in float32 up to full scale.
STEP = 2.0**-23


class TrackStream:
    """Mixture in, tracks out, piece by piece; the tracks are as long as the mixture.

    Args:
        process: Separates a chunk at the model's rate: (C', n), and the position of its
            first sample, -> (N, C', n).
        plan: How the recording is cut into chunks, at the model's rate.
        fs: Sampling rate of the recording in Hz.
        model_fs: That of the model.
        channels: "mean" separates the mean of the channels (C' = 1), "each" all.
        residual: Whether a last track holds what the others leave of the mixture.
    """

    def __init__(
        self,
        process: Process,
        plan: ChunkPlan,
        fs: int,
        model_fs: int,
        channels: str = "mean",
        residual: bool = False,
    ):
        if channels not in CHANNELS:
            raise InputError(
                f"channels={channels!r}: expected one of {', '.join(CHANNELS)}."
            )
        self.mean = channels == "mean"
        self.residual = residual
        self._chunked = ChunkedProcess(process, plan)
        self._down = Resampler(fs, model_fs)
        self._up = Resampler(model_fs, fs)
        self._mixture: List[np.ndarray] = []  # not yet given, for the residual
        self._fed = self._given = 0
        self._shape: Optional[tuple] = None

    def feed(self, piece: np.ndarray) -> Iterator[np.ndarray]:
        """Take (C, n) float32; yield (N, m), or (N, C, m) with channels "each".

        Raises:
            InputError: the number of channels has changed.
        """
        if self._shape is not None and len(piece) != self._shape[0]:
            raise InputError(
                f"a piece of the mixture has {len(piece)} channels, the first had "
                f"{self._shape[0]}."
            )
        self._shape = (len(piece),)
        self._fed += piece.shape[-1]
        if self.mean:
            piece = piece.mean(axis=0, keepdims=True)
        if self.residual:
            self._mixture.append(piece)
        for tracks in self._chunked.feed(self._down(piece)):
            yield from self._give(tracks)

    def finish(self) -> Iterator[np.ndarray]:
        """Yield what is left; the recording has ended."""
        if self._fed == 0:
            return
        nothing = np.zeros((1 if self.mean else self._shape[0], 0), np.float32)
        rest = self._chunked.feed(self._down(nothing, last=True))
        tracks = None
        for tracks in itertools.chain(rest, self._chunked.finish()):
            yield from self._give(tracks)
        if tracks is None:
            raise InputError(f"the mixture has {self._fed} samples: too few.")
        yield from self._give(tracks[..., :0], last=True)

    def _give(self, tracks: np.ndarray, last: bool = False) -> Iterator[np.ndarray]:
        """Bring tracks (N, C', m) to the recording's rate and, at the end, length."""
        number, channels = tracks.shape[:2]
        flat = self._up(tracks.reshape(number * channels, -1), last)
        room = self._fed - self._given
        missing = room - flat.shape[-1] if last else 0
        flat = np.pad(flat[:, :room], ((0, 0), (0, max(0, missing))))
        tracks = flat.reshape(number, channels, -1)
        if tracks.shape[-1] == 0:
            return
        self._given += tracks.shape[-1]
        if self.residual:
            tracks = (np.rint(tracks / STEP) * STEP).astype(np.float32)
            rest = self._take(tracks.shape[-1]) - tracks.sum(axis=0)
            tracks = np.concatenate([tracks, rest[None]])
        yield tracks[:, 0] if self.mean else tracks

    def _take(self, samples: int) -> np.ndarray:
        """Take the next samples of the mixture out of what is kept of it."""
        kept = np.concatenate(self._mixture, axis=-1)
        self._mixture = [kept[:, samples:]]
        return kept[:, :samples]
