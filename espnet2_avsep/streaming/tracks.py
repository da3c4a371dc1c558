"""From pieces of a recording to pieces of its tracks, at the recording's own rate."""

import itertools
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np

from espnet2_avsep.errors import InputError
from espnet2_avsep.streaming.bandwidth import BANDWIDTHS, extension
from espnet2_avsep.streaming.chunked import ChunkedProcess, ChunkPlan, Process
from espnet2_avsep.streaming.resampler import Resampler

CHANNELS = ("mean", "each")
# Tracks are rounded to steps of 24-bit audio where their residual is wanted: sums of
# such numbers are exact in float32 up to full scale.
STEP = 2.0**-23
# Seconds over which a track with time spans fades in and out, within the span.
FADE = 0.01
# (begin, end) pairs in s for each track; None: the track has no such limits.
Spans = Optional[Sequence[Optional[Sequence[Tuple[float, float]]]]]


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
        spans: For each track None, or (begin, end) pairs in s outside of which it is
            silent; None: no track has any.
        bandwidth: "model": tracks end at half the model's rate. "full": what the
            mixture has above it is shared among them, see streaming/bandwidth.py.
    """

    def __init__(
        self,
        process: Process,
        plan: ChunkPlan,
        fs: int,
        model_fs: int,
        channels: str = "mean",
        residual: bool = False,
        spans: Spans = None,
        bandwidth: str = "model",
    ):
        for name, value, known in (
            ("channels", channels, CHANNELS),
            ("bandwidth", bandwidth, BANDWIDTHS),
        ):
            if value not in known:
                raise InputError(
                    f"{name}={value!r}: expected one of {', '.join(known)}."
                )
        self.mean = channels == "mean"
        self.residual = residual
        self._fs = fs
        self._spans = spans
        # Where the recording has nothing above the model's band there is no more to do.
        self._extension = None
        if bandwidth == "full" and fs > model_fs:
            self._extension = extension(fs, model_fs)
            process = _with_mixture(process)
        self._chunked = ChunkedProcess(process, plan)
        self._down = Resampler(fs, model_fs)
        self._up = Resampler(model_fs, fs)
        self._mixture: List[np.ndarray] = []  # not yet given
        self._fed = self._taken = self._given = 0
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
        if self.residual or self._extension is not None:
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
        room = self._fed - self._taken
        missing = room - flat.shape[-1] if last else 0
        flat = np.pad(flat[:, :room], ((0, 0), (0, max(0, missing))))
        tracks = flat.reshape(number, channels, -1)
        samples = tracks.shape[-1]
        self._taken += samples
        if self.residual or self._extension is not None:
            tracks = np.concatenate([tracks, self._take(samples)[None]])
        parts = [tracks]
        if self._extension is not None:
            parts = list(self._extension.feed(tracks)) if samples else []
            parts += self._extension.finish() if last else []
        for part in parts:
            if part.shape[-1]:
                yield self._finished(part)

    def _finished(self, tracks: np.ndarray) -> np.ndarray:
        """Apply the time spans; round tracks and replace the mixture by the residual.

        Args:
            tracks: (N, C', n) and, where it is kept, the mixture.
        """
        silence_outside(tracks, self._spans, self._given, self._fs)
        self._given += tracks.shape[-1]
        if self.residual:
            mixture = tracks[-1]
            tracks = (np.rint(tracks[:-1] / STEP) * STEP).astype(np.float32)
            rest = mixture - tracks.sum(axis=0)
            tracks = np.concatenate([tracks, rest[None]])
        elif self._extension is not None:
            tracks = tracks[:-1]
        return tracks[:, 0] if self.mean else tracks

    def _take(self, samples: int) -> np.ndarray:
        """Take the next samples of the mixture out of what is kept of it."""
        kept = np.concatenate(self._mixture, axis=-1)
        self._mixture = [kept[:, samples:]]
        return kept[:, :samples]


def _with_mixture(process: Process) -> Process:
    """Let a process return the chunk itself as a last track."""
    return lambda chunk, start: np.concatenate([process(chunk, start), chunk[None]])


def silence_outside(tracks: np.ndarray, spans: Spans, start: int, fs: int) -> None:
    """Silence tracks (N, ..., n) outside their time spans, in place.

    Args:
        tracks: The stretch that begins ``start`` samples into the recording.
        spans: Of each track, see TrackStream.
        start: Position of the first sample.
        fs: Sampling rate in Hz.
    """
    for track, of_one in zip(tracks, spans or (), strict=False):
        if of_one is not None:
            track *= gate(of_one, start, tracks.shape[-1], fs)


def gate(
    spans: Sequence[Tuple[float, float]], start: int, samples: int, fs: int
) -> np.ndarray:
    """Return the gain of a track that has time spans: 1 within them, 0 outside.

    It rises and falls as a raised cosine over FADE seconds, or half a shorter span.
    Spans that overlap or touch are one.

    Args:
        spans: (begin, end) pairs in s.
        start: Position of the first sample.
        samples: Their number.
        fs: Sampling rate in Hz.

    Returns:
        float32 (samples,).
    """
    time = (start + np.arange(samples)) / fs
    gain = np.zeros(samples)
    for begin, end in _union(spans):
        fade = min(FADE, (end - begin) / 2)
        inside = np.clip(np.minimum(time - begin, end - time) / fade, 0, 1)
        gain = np.maximum(gain, np.sin(inside * np.pi / 2) ** 2)
    return gain.astype(np.float32)


def _union(spans: Sequence[Tuple[float, float]]) -> List[Tuple[float, float]]:
    """Return spans that do not touch, in order, which cover what some spans do."""
    found: List[Tuple[float, float]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            begin, before = found.pop()
            end = max(before, end)
        found.append((begin, end))
    return found
