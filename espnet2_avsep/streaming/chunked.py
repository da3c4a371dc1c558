"""A process on overlapping chunks of a signal without end, joined by cross-fades.

Chunks equal one pass, up to rounding, where the process is the same everywhere and
looks no further than the context. What holds for the separators:

* TFC-TDF is built so (``context_frames``). Default chunks are long enough for it, and
  cross-fades leave it out: the tracks are those of one pass, for at most a third more
  frames.
* HFRA, CLIPSep, Sound of Pixels and the other U-Nets of layers/unet.py align the
  corners of up-sampled maps: where between its neighbours a value is read depends on
  its place in the chunk, or in the whole recording, and no context makes up for that.
  Measured with the mini recipe's network on four of its test mixtures, repeated to 34 s
  (tests/benchmarks/bench_long.py --limit 4 --repeat 6 with --model and --data): chunks
  of the training's segment (5.6 s) that overlap by half differ from one pass by -25 dB,
  chunks of four segments by -32 dB, and their SI-SDR is 8.2 and 8.1 dB where one pass
  has 8.1 dB. Neither is the more right one: a recording longer than a segment is
  nothing that the network has seen. With SeparateAV(shift_invariant=True) these
  networks read every frame alike, and the difference vanishes as context grows, at the
  price of other masks than the published ones. With the same recordings and
  --shift_invariant (training of half the demo's epochs, one pass 5.37 dB SI-SDR):
  -37 dB (5.32 dB) with chunks of a segment, -74 dB (5.37 dB) of four segments that fade
  over half of their length, -180 dB with a fade of a tenth of it. They look at most
  6 * 2 ** layers frames to each side (17 s, HFRA).
  Chunks of a segment are the default, since they are what the network was trained on.
  Longer ones overlap by half a segment, too, and cost less: of HFRA (small, trained on
  real sound with segments of 1.4 s), on four mixtures repeated to 135 s, default chunks
  differ from one pass by -15.4 dB (SI-SDR 3.78 dB; one pass 3.34 dB), chunks of two
  segments (Chunking(2.8), --chunk 2.8) by -20.4 dB (3.53 dB) in 0.54 of the time, with
  twice the memory for the network's maps (--repeat 24 --limit 4 --threads 1).
* iQuery, DGFNet and Semantic Grouping look at the whole chunk, by attention or means,
  and Wave-U-Net and AVPC interpolate in their own ways: no such mode.

A sample waits for the end of its chunk, and for the next one where they are faded into
each other: at most for one chunk (by default 5.6 s of HFRA's, 7 s of the small and 22 s
of the full TFC-TDF's, shorter with Chunking).
"""

import dataclasses
from typing import Callable, Iterator, Optional

import numpy as np

from espnet2_avsep.errors import InputError

# (C, n) samples and the position of the first -> (..., n) of any leading axes.
Process = Callable[[np.ndarray, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Chunking:
    """How a recording is cut into chunks.

    Neighbouring chunks overlap. In the middle of the overlap one fades over into the
    next; what lies on both sides of the fade is context, which the network sees and
    whose result is not used.

    Attributes:
        seconds: Length of a chunk; None takes that of the training's segments, or four
            times the overlap where the network's context is known and that is longer.
        overlap: Seconds that neighbours share; None takes half a segment of the
            training (at most half a chunk), or what the network's context wants, where
            that is known: twice the context and a short fade.
        fade: Seconds of the cross-fade; None takes the whole overlap, or what the
            network's context leaves of it, where that is known and there is room.
    """

    seconds: Optional[float] = None
    overlap: Optional[float] = None
    fade: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class ChunkPlan:
    """A Chunking in samples.

    Attributes:
        chunk: Samples of a chunk.
        overlap: Samples that neighbours share.
        fade: Samples of the cross-fade in the middle of the overlap.
        hop: Chunks begin at multiples of it: of the hop of the STFT at least.
    """

    chunk: int
    overlap: int
    fade: int
    hop: int = 1

    def __post_init__(self):
        """Validate the options.

        Raises:
            InputError: see the messages.
        """
        if not 0 < 2 * self.overlap <= self.chunk:
            raise InputError(
                f"chunks of {self.chunk} samples that overlap by {self.overlap}: the "
                "overlap must be positive and at most half a chunk."
            )
        if not 0 < self.fade <= self.overlap:
            raise InputError(
                f"a cross-fade of {self.fade} samples in an overlap of {self.overlap}: "
                "it must be positive and fit in."
            )
        if self.step < 1 or self.step % self.hop:
            raise InputError(
                f"chunks that begin {self.step} samples after one another: expected a "
                f"multiple of the STFT's hop, {self.hop}."
            )

    @property
    def step(self) -> int:
        """Samples from the beginning of a chunk to that of the next."""
        return self.chunk - self.overlap

    @property
    def context(self) -> int:
        """Samples on each side of a cross-fade whose result is not used."""
        return (self.overlap - self.fade) // 2


# One chunk, however long the signal.
WHOLE = ChunkPlan(chunk=1 << 62, overlap=1 << 61, fade=1)


def plan_chunks(
    chunking: Chunking,
    segment: int,
    fs: int,
    hop: int,
    shortest: int,
    levels: int = 0,
    context: int = 0,
) -> ChunkPlan:
    """Bring a Chunking to samples.

    Chunks begin at frames of the STFT and, as far as the overlap allows it, where the
    strided convolutions of a U-Net fall on those of a pass over the whole recording.

    Args:
        chunking: In seconds.
        segment: Samples of a segment of the training.
        fs: Sampling rate in Hz.
        hop: Hop of the STFT in samples.
        shortest: The fewest samples that the model takes.
        levels: How often the network halves the frames.
        context: Samples on each side that a result depends on, where the network has
            such a limit; 0 where it has none. Where the overlap has room for them, as
            it has by default, the cross-fade leaves them out: chunks then equal one
            pass.

    Raises:
        InputError: a value is no positive number, or they do not go together.
    """
    for name in ("seconds", "overlap", "fade"):
        value = getattr(chunking, name)
        if value is not None and not 0 < value < 1e6:
            raise InputError(
                f"chunking: {name} is {value!r}; expected a positive number of seconds."
            )
    # Up to one grid is lost where the overlap is brought to it; the rest is the fade.
    enough = 2 * context + 2 * (hop << levels) if context else 0
    chunk = max(segment, 4 * enough)
    if chunking.seconds is not None:
        chunk = round(chunking.seconds * fs)
    if chunk < shortest:
        raise InputError(
            f"chunking: a chunk has {chunk} samples at {fs} Hz; the model needs at "
            f"least {shortest} ({shortest / fs:.2f} s)."
        )
    overlap = min(chunk // 2, enough or segment // 2 or chunk)
    if chunking.overlap is not None:
        overlap = round(chunking.overlap * fs)
    if 2 * overlap > chunk:
        raise InputError(
            f"chunking: an overlap of {overlap / fs:g} s in chunks of {chunk / fs:g} "
            "s; at most half a chunk can be shared."
        )
    wanted = overlap
    for level in reversed(range(levels + 1)):
        grid = hop << level
        overlap = chunk - -(-(chunk - wanted) // grid) * grid
        if 2 * overlap >= wanted:
            break
    if overlap < 1:
        raise InputError(
            f"chunking: chunks of {chunk / fs:g} s have no room for an overlap of "
            f"{hop} samples; take longer ones or a longer overlap."
        )
    fade = overlap
    if chunking.fade is not None:
        fade = max(1, min(round(chunking.fade * fs), overlap))
    elif 2 * context < overlap:
        fade = overlap - 2 * context
    return ChunkPlan(chunk, overlap, fade, grid)


class ChunkedProcess:
    """Runs a process on chunks of what it is fed; the result has the input's length.

    Chunk k begins at k * step. The last one is moved back (by whole hops) until it is
    full, so that only a signal shorter than a chunk is seen as a short chunk; it may be
    up to a hop longer than the others. Cross-fades are raised cosines, whose two halves
    add up to one: where neighbours agree nothing changes. The result depends on the
    samples alone, not on the pieces in which they are fed. At most three chunks of
    samples are held.

    Args:
        process: What is done with a chunk.
        plan: How it is cut.
    """

    def __init__(self, process: Process, plan: ChunkPlan):
        self.process = process
        self.plan = plan
        ramp = (np.arange(plan.fade) + 0.5) / plan.fade
        self._rise = (np.sin(ramp * np.pi / 2) ** 2).astype(np.float32)
        self._input: Optional[np.ndarray] = None  # (C, n)
        self._input_start = 0
        self._next = 0  # where the next chunk begins
        self._tail: Optional[np.ndarray] = (
            None  # the last chunk's result, not given yet
        )
        self._given = 0  # samples given so far

    def feed(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Take samples (C, n); yield (..., m), what is finished."""
        if self._input is None:
            self._input = samples
        else:
            self._input = np.concatenate([self._input, samples], axis=-1)
        # Only where more than a hop follows: else this is the last chunk, see finish().
        while self._end >= self._next + self.plan.chunk + self.plan.hop:
            yield from self._run(self._next, self._next + self.plan.chunk, last=False)
            self._next += self.plan.step
            self._forget(self._next - self.plan.step - self.plan.hop)

    def finish(self) -> Iterator[np.ndarray]:
        """Yield what is left; the signal has ended."""
        if self._input is None or self._end == 0:
            return
        start = (self._end - self.plan.chunk) // self.plan.hop * self.plan.hop
        yield from self._run(max(0, min(start, self._next)), self._end, last=True)

    @property
    def _end(self) -> int:
        return self._input_start + self._input.shape[-1]

    def _forget(self, before: int) -> None:
        if before > self._input_start:
            self._input = self._input[..., before - self._input_start :].copy()
            self._input_start = before

    def _run(self, start: int, end: int, last: bool) -> Iterator[np.ndarray]:
        """Process one chunk, join it to what is there, give what no other changes."""
        origin = self._input_start
        result = self.process(self._input[..., start - origin : end - origin], start)
        result = result[..., self._given - start :]
        if self._tail is not None:
            fade = self.plan.fade
            fall = self._tail[..., :fade]
            joined = fall + self._rise * (result[..., :fade] - fall)
            result = np.concatenate([joined, result[..., fade:]], axis=-1)
        # The next fade begins here; its other half comes with the next chunk.
        until = end - self._given
        if not last:
            until -= self.plan.overlap - self.plan.context
            self._tail = result[..., until : until + self.plan.fade]
        self._given += until
        yield result[..., :until]
