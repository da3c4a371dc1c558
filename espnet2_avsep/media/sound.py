"""Decoded sound, each sample where its time stamp puts it."""

import contextlib
import itertools
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from espnet2_avsep.media.clock import packets
from espnet2_avsep.media.container import (
    ClipError,
    PathLike,
    first_line,
    open_media,
)

# Time stamps are rounded, and recorders' clocks jitter: less than this, in s, is no
# hole and no overlap. (An Opus packet lasts 20 ms, a picture at 25 fps 40 ms.)
MAX_DRIFT = 0.015
# A hole longer than this, in s, is taken for wrong time stamps.
MAX_HOLE = 3600.0
# More undecodable packets than this share of all make a file unusable.
MAX_LOST_SHARE = 0.05
# Parts that cancel in a down-mix are reported from this share of the energy on.
_LOST_SHARE = 0.1
# Packets of a stream that are tried before it counts as undecodable.
_TRIED = 500


class SoundStream(NamedTuple):
    """An audio stream that can be decoded.

    Attributes:
        index: Its index in the file.
        fs: Sampling rate in Hz.
        channels: Number of channels.
        start: Time of the first sample on the file's clock in s.
        note: Why it was chosen, where the file has several; else "".
    """

    index: int
    fs: int
    channels: int
    start: float
    note: str = ""


class SoundDecoder:
    """Decodes an audio stream packet by packet.

    Holes in the time stamps become silence, what overlaps is cut, packets that cannot
    be decoded are left out (and leave a hole).

    Args:
        path: The file, for messages.
        stream: The stream of the open file.

    Attributes:
        fs: Sampling rate in Hz; 0 before the first sample.
        channels: Number of channels; 0 before the first sample.
        start: Time of the first sample on the file's clock in s.
        samples: Number of samples so far.
    """

    def __init__(self, path: PathLike, stream: "av.audio.stream.AudioStream"):  # noqa: F821
        if stream.codec_context is None:
            raise ClipError(
                path, "its sound is of no known kind", "Convert its sound to AAC."
            )
        self.path, self.stream = path, stream
        self.fs = self.channels = self.samples = 0
        self.start = 0.0
        self._packets = self._lost = 0
        self._error: Optional[Exception] = None
        # kind -> (where, how long) in s
        self._faults: Dict[str, List[Tuple[float, float]]] = {
            "hole": [],
            "overlap": [],
            "packet": [],
        }

    @property
    def seconds(self) -> float:
        """Seconds of sound so far."""
        return self.samples / self.fs if self.fs else 0.0

    def feed(self, packet: "av.Packet") -> List[np.ndarray]:  # noqa: F821
        """Decode a packet.

        Args:
            packet: From clock.packets; those of other streams are passed over.

        Returns:
            The next samples, (channels, n) float32 each.

        Raises:
            ClipError: the sampling rate or the channels change, a time stamp is more
                than an hour ahead.
        """
        import av

        if packet.stream_index != self.stream.index:
            return []
        self._packets += packet.size > 0
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            self._lost += 1
            self._error = error
            self._faults["packet"].append((self.seconds, 0.0))
            return []
        found: List[np.ndarray] = []
        for frame in frames:
            if frame.samples:
                found += self._place(frame)
        return found

    def check(self) -> None:
        """Check, after the last packet, how much could be decoded.

        Raises:
            ClipError: more than :data:`MAX_LOST_SHARE` of the packets could not.
        """
        if self._lost > max(1.0, MAX_LOST_SHARE * self._packets):
            raise ClipError(
                self.path,
                f"{self._lost} of {self._packets} packets of its sound cannot be "
                f"decoded ({first_line(self._error)})",
                "Fetch the file again, or convert its sound.",
            )

    def notes(self) -> List[str]:
        """Return what was filled, cut or left out, a sentence each."""
        texts = {
            "hole": "filled with silence: {} in the time stamps of its sound, {}",
            "overlap": "cut: {} in the time stamps of its sound, {}",
            "packet": "left out: {} of its sound that cannot be decoded",
        }
        found = []
        for kind, times in self._faults.items():
            if times:
                count = f"{len(times)} {kind}{'s' * (len(times) > 1)}"
                seconds = f"{sum(length for _, length in times):.3f} s together"
                text = texts[kind].format(count, seconds)
                found.append(f"{text}, the first at {times[0][0]:.2f} s")
        return found

    def _place(self, frame: "av.AudioFrame") -> List[np.ndarray]:  # noqa: F821
        """Return a frame's samples, after the silence of a hole before it."""
        samples = self._channels(frame)
        base = frame.time_base or self.stream.time_base
        time = None if frame.pts is None else float(frame.pts * base)
        if self.samples == 0:
            start = self.stream.start_time
            if time is None and start is not None:
                time = float(start * self.stream.time_base)
            self.start = time or 0.0
            time = None
        silence: List[np.ndarray] = []
        if time is not None:
            drift = time - self.start - self.seconds
            if drift > MAX_HOLE:
                raise ClipError(
                    self.path,
                    f"the time stamps of its sound jump by {drift:.0f} s at "
                    f"{self.seconds:.2f} s",
                    "Write the file again with correct time stamps.",
                )
            count = round(abs(drift) * self.fs)
            if drift > MAX_DRIFT:
                self._faults["hole"].append((self.seconds, drift))
                second = np.zeros((self.channels, self.fs), np.float32)
                silence = [second] * (count // self.fs) + [second[:, : count % self.fs]]
            elif drift < -MAX_DRIFT:
                cut = min(count, samples.shape[-1])
                self._faults["overlap"].append((self.seconds, cut / self.fs))
                samples = samples[:, cut:]
        found = [part for part in (*silence, samples) if part.shape[-1]]
        self.samples += sum(part.shape[-1] for part in found)
        return found

    def _channels(self, frame: "av.AudioFrame") -> np.ndarray:  # noqa: F821
        """Return (channels, n) float32 with the first frame's rate and channels."""
        samples = frame_channels(frame)
        if not self.fs:
            self.fs, self.channels = frame.sample_rate, len(samples)
        if len(samples) != self.channels and 1 in (len(samples), self.channels):
            samples = np.broadcast_to(
                samples.mean(axis=0, keepdims=True),
                (self.channels, samples.shape[-1]),
            )
        for name, found, first in (
            ("sampling rate", frame.sample_rate, self.fs),
            ("number of channels", len(samples), self.channels),
        ):
            if found != first:
                raise ClipError(
                    self.path,
                    f"the {name} changes from {first} to {found} in mid-stream",
                    "Convert the file to a constant format.",
                )
        return samples


class DownMix:
    """The mean over the channels, and whether it cancels them.

    Channels of opposite phase (right = -left) sum up to silence.
    """

    def __init__(self) -> None:
        self.channels = 0
        self._mean = self._all = self._lost = 0.0  # energies

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Average (channels, n) to (n,) float32."""
        self.channels = len(block)
        if self.channels == 1:
            return block[0]
        mean = block.mean(axis=0, dtype=np.float32)
        kept = float(np.einsum("i,i->", mean, mean, dtype=np.float64))
        energy = float(np.einsum("ij,ij->", block, block, dtype=np.float64))
        self._mean += kept
        self._all += energy
        if self._cancels(kept, energy):
            self._lost += energy
        return mean

    def _cancels(self, kept: float, energy: float) -> bool:
        """Tell whether a mean has lost the sound.

        Of independent channels it keeps 1 / channels of their mean energy; a tenth of
        that is the limit.
        """
        return kept * self.channels < 0.1 / self.channels * energy

    def note(self) -> str:
        """Return a warning where the mean has lost the sound or parts of it, or ""."""
        text = (
            f"its {self.channels} channels are of opposite phase and cancel in their "
            "mean"
        )
        if self._cancels(self._mean, self._all):
            share = self._mean * self.channels / self._all  # 1 where all are equal
            return f"{text} ({10 * np.log10(max(share, 1e-10)):.0f} dB below them)"
        if self._lost > _LOST_SHARE * self._all:
            share = self._lost / self._all
            return f"{text} in parts with {share:.0%} of its energy"
        return ""


def find_sound(path: PathLike, number: Optional[int] = None) -> Optional[SoundStream]:
    """Return the audio stream of a file to read; None: it has none.

    The first one with the default flag that can be decoded; of files without, the first
    one that can.

    Args:
        path: The file.
        number: Take the one of this number, from 1, and no other.

    Raises:
        ClipError: unreadable, no stream of that number, none can be decoded.
    """
    with open_media(path) as container:
        streams = list(container.streams.audio)
        if not streams and number is None:
            return None
        wanted = _order(path, streams, number)
        indices = [stream.index for stream in streams]
        if len(wanted) == 1:
            return _first_sample(path, container, indices[wanted[0]])
    errors: List[str] = []
    for place in wanted:
        try:
            with open_media(path) as container:
                found = _first_sample(path, container, indices[place])
        except ClipError as error:
            errors.append(f"stream {place + 1}: {error.reason}")
            continue
        note = (
            f"audio stream {place + 1} of {len(indices)} is read ({found.fs} Hz, "
            f"{found.channels} channel(s)"
        )
        note += "".join(f"; {text}" for text in errors)
        return found._replace(note=f"{note}); --audio_stream N chooses another")
    raise ClipError(path, "no audio stream can be decoded (" + "; ".join(errors) + ")")


def _order(path: PathLike, streams: List, number: Optional[int]) -> List[int]:
    """Return the places of audio streams in the order in which they are tried."""
    from av.stream import Disposition

    if number is not None:
        if not 1 <= number <= len(streams):
            raise ClipError(
                path,
                f"has no audio stream {number}",
                f"It has {len(streams)}; --audio_stream counts from 1.",
            )
        return [number - 1]
    return sorted(
        range(len(streams)),
        key=lambda n: not streams[n].disposition & Disposition.default,
    )


def _first_sample(path: PathLike, container, index: int) -> SoundStream:
    """Decode the first samples of a stream of a file that was just opened.

    Raises:
        ClipError: that is not possible.
    """
    import av

    stream = container.streams[index]
    decoder = SoundDecoder(path, stream)
    with contextlib.suppress(av.error.FFmpegError):
        for packet in itertools.islice(packets(container, stream), _TRIED):
            if decoder.feed(packet):
                return SoundStream(index, decoder.fs, decoder.channels, decoder.start)
    decoder.check()
    raise ClipError(path, "no audio samples", "Fetch the file again.")


def frame_channels(frame: "av.AudioFrame") -> np.ndarray:  # noqa: F821
    """Return the channels of a decoded frame; full scale is 1.0, (C, L), float32."""
    samples = frame.to_ndarray()  # planar: (C, L); packed: (1, L * C)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return samples.astype(np.float32)
