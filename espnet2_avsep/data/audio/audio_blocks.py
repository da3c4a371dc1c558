"""Read the sound of any media file block by block, all channels, at constant memory."""

from pathlib import Path
from typing import Iterator, List, Optional

import numpy as np

from espnet2_avsep.media.clock import packet_end, packets
from espnet2_avsep.media.complete import (
    check_complete,
    check_container_complete,
    tolerate_decode_error,
)
from espnet2_avsep.media.container import ClipError, PathLike, open_media
from espnet2_avsep.media.plain_sound import plain_sound
from espnet2_avsep.media.sound import SoundDecoder, find_sound
from espnet2_avsep.media.stream import stated_end

BLOCK = 1 << 16
# Sound that lacks more than this in s at its end is reported.
_SHORT = 0.1


class AudioBlocks:
    """The sound of a file.

    Wav and flac are read through libsndfile, all else through FFmpeg, each sample where
    its time stamp puts it.

    Args:
        path: The file.
        audio_stream: Which audio stream, from 1; None: see media.sound.find_sound.

    Attributes:
        fs: Sampling rate in Hz.
        channels: Number of channels.
        start: Time of the first sample on the file's clock in s.
        length: Samples that the header states; None where it does not, or guesses.
        notes: What the user should know of how it was read, a sentence each; complete
            once all blocks were read.

    Raises:
        ClipError: missing, unreadable, without sound that can be decoded.
    """

    def __init__(self, path: PathLike, audio_stream: Optional[int] = None):
        self.path = Path(path)
        self.start = 0.0
        self.length: Optional[int] = None
        self._plain = plain_sound(path) if audio_stream in (None, 1) else None
        self._index = 0
        if self._plain is not None:
            self.fs, self.channels = self._plain.fs, self._plain.channels
            self.length = self._plain.length
            self._first_note = self._plain.note
        else:
            stream = find_sound(path, audio_stream)
            if stream is None:
                raise no_audio(path)
            self.fs, self.channels = stream.fs, stream.channels
            self.start, self._index = stream.start, stream.index
            self._first_note = stream.note
            with open_media(path) as container:
                end = stated_end(container, container.streams[self._index])
            if end is not None:
                self.length = round((end - self.start) * self.fs)
        self.notes: List[str] = [self._first_note] if self._first_note else []

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield (channels, n) float32 blocks.

        Raises:
            ClipError: truncated, NaN or infinite samples, no samples, a change of
                sampling rate or channels in mid-stream, too much that cannot be
                decoded.
        """
        self.notes = [self._first_note] if self._first_note else []
        found = 0
        plain = self._plain
        for block in self._decode() if plain is None else plain.blocks(BLOCK):
            if not np.isfinite(block).all():
                raise ClipError(
                    self.path,
                    f"{np.sum(~np.isfinite(block))} samples are NaN or infinite near "
                    f"second {found / self.fs:.1f}",
                    "Write the sound again from its source.",
                )
            found += block.shape[-1]
            yield block
        if plain is not None:
            seconds, stated = found / self.fs, plain.length / self.fs
            check_complete(self.path, "audio", seconds, stated)
            notes = (_short_note(seconds, stated), plain.unread())
            self.notes += filter(None, notes)
        if found == 0:
            raise ClipError(self.path, "no audio samples", "Fetch the file again.")

    def _decode(self) -> Iterator[np.ndarray]:
        import av

        pieces: List[np.ndarray] = []
        with open_media(self.path) as container:
            reading = SoundPass(self.path, container, self._index)
            try:
                for packet in packets(container, *reading.streams):
                    for piece in reading.feed(packet):
                        pieces.append(piece)
                        if sum(piece.shape[-1] for piece in pieces) >= BLOCK:
                            yield np.concatenate(pieces, axis=-1)
                            pieces = []
            except av.error.FFmpegError as error:
                reading.tolerate(error)
            if pieces:
                yield np.concatenate(pieces, axis=-1)
            self.notes += reading.finish()


def long_enough(blocks: AudioBlocks, seconds: float) -> Iterator[np.ndarray]:
    """Yield the blocks of a sound that lasts some time at least.

    Raises:
        ClipError: it is shorter; as for the blocks.
    """
    found = 0
    for block in blocks:
        found += block.shape[-1]
        yield block
    if found < seconds * blocks.fs:
        raise ClipError(
            blocks.path,
            f"lasts {1000 * found / blocks.fs:.3g} ms ({found} samples)",
            f"The model needs {1000 * seconds:.3g} ms at least.",
        )


class SoundPass:
    """Decodes the sound of an open file while its packets are read.

    Args:
        path: The file.
        container: The open file.
        index: Of the audio stream, from media.sound.find_sound.

    Attributes:
        streams: Those whose packets are needed; empty: all.
    """

    def __init__(self, path: PathLike, container, index: int):
        self.path, self.container = path, container
        stream = container.streams[index]
        self.decoder = SoundDecoder(path, stream)
        self._stated_end = stated_end(container, stream)
        self._index = index
        self._end = self._sound_end = 0.0
        # Where the header does not tell when the sound ends, all packets must be read
        # to see whether the file was cut; else those of the sound will do.
        self.streams = [] if self._stated_end is None else [stream]

    def feed(self, packet: "av.Packet") -> List[np.ndarray]:  # noqa: F821
        """Take any packet of media.clock.packets; see SoundDecoder.feed."""
        end = packet_end(packet)
        self._end = max(self._end, end)
        if packet.stream_index == self._index:
            self._sound_end = max(self._sound_end, end)
        return self.decoder.feed(packet)

    def tolerate(self, error: Exception) -> None:
        """Let a fault of the file pass in its last tenth.

        Raises:
            ClipError: "truncated".
        """
        time = self._sound_end - self.decoder.start
        tolerate_decode_error(self.path, "audio", time, self._stated, error)

    def finish(self) -> List[str]:
        """Check, after the last packet, that all could be read.

        Returns:
            See SoundDecoder.notes.

        Raises:
            ClipError: truncated, too much that cannot be decoded.
        """
        self.decoder.check()
        seconds, stated = self.decoder.seconds, self._stated
        check_complete(self.path, "audio", seconds, stated)
        if stated is None:
            check_container_complete(self.path, self.container, self._end)
        short = "" if stated is None else _short_note(seconds, stated)
        return [*self.decoder.notes(), *filter(None, [short])]

    @property
    def _stated(self) -> Optional[float]:
        if self._stated_end is None:
            return None
        return self._stated_end - self.decoder.start


def _short_note(seconds: float, stated: float) -> str:
    if seconds >= stated - _SHORT:
        return ""
    return f"its sound ends at {seconds:.2f} s, {stated:.2f} s are stated"


def no_audio(path: PathLike) -> ClipError:
    """Return the error for a file without a sound track."""
    return ClipError(path, "no audio stream", "A file with sound is needed.")
