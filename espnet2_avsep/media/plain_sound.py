"""WAV and FLAC files through libsndfile, and how long a WAV really is.

The size of a WAV's samples is a number of 32 bits (of 64 bits in RF64 and BW64), which
programs fill in as follows; ``there`` is the number of bytes behind the header.

========================== ============================================ ===============
size in the header         meaning                                      length taken
========================== ============================================ ===============
0 < size <= there          as stated; what follows are other chunks or  size
                           padding; anything else is noted, not read
0, other chunks follow     no sample                                    0
0, other bytes follow      never filled in (the writer was killed)      there
>= 0x7FFF0000, > there     a pipe: the length was not known             there
about 2^31 or 2^32, and    the same                                     there
what follows is no chunk
there - size >= 4 GiB      only the lowest 32 bits of the true size     size + k 2^32
size > there               cut off                                      size, and the
                                                                        reader finds it
RF64: 0 or >= 2^62         never filled in                              there
========================== ============================================ ===============

libsndfile 1.2 takes the number as it is and stops at 4 GiB; such files are given to it
as raw samples.
"""

import contextlib
import io
import mmap
import os
import struct
from dataclasses import dataclass
from typing import Any, Dict, Iterator, NamedTuple, Optional

import numpy as np

from espnet2_avsep.media.container import ClipError, PathLike

# Sizes from here on are what programs write into the header of a wav that they pipe.
_UNKNOWN_SIZE = 0x7FFF0000
_UNKNOWN_WIDE_SIZE = 1 << 62
_PLACEHOLDERS = ((_UNKNOWN_SIZE, 1 << 31), (0xFFFFFF00, 0xFFFFFFFF))
# (format tag, bits) -> libsndfile's name.
_RAW = {
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
    (6, 8): "ALAW",
    (7, 8): "ULAW",
}
_EXTENSIBLE = 0xFFFE
# What libsndfile says of a FLAC that does not state its length.
_UNKNOWN_FRAMES = 2**63 - 1
_RIFF, _WIDE = (b"RIFF",), (b"RF64", b"BW64")
_FLAC_BEGIN = b"fLaC\0\0\0\x22"


@dataclass(frozen=True)
class PlainSound:
    """A sound file that libsndfile reads.

    Attributes:
        path: The file.
        fs: Sampling rate in Hz.
        channels: Number of channels.
        length: Samples of a channel that the file should hold.
        note: What is unusual about the length; "" where nothing is.
        lacking: Samples of these that a file which was cut off lacks.
    """

    path: str
    fs: int
    channels: int
    length: int
    note: str = ""
    _data: Optional["_Data"] = None
    lacking: int = 0

    @property
    def there(self) -> int:
        """Samples of a channel that the file holds; fewer than ``length`` if cut."""
        return self.length - self.lacking

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield (channels, n <= size) float32 blocks.

        Raises:
            ClipError: libsndfile finds a fault.
        """
        import soundfile

        try:
            with contextlib.ExitStack() as stack:
                # As str, soundfile refuses names that are not UTF-8.
                source: Any = os.fsencode(self.path)
                options: Dict[str, Any] = {}
                if self._data is not None:
                    f = stack.enter_context(open(self.path, "rb"))
                    source, options = self._data.window(f)
                    options.update(samplerate=self.fs, channels=self.channels)
                f = stack.enter_context(soundfile.SoundFile(source, **options))
                while len(block := f.read(size, dtype="float32", always_2d=True)):
                    yield np.ascontiguousarray(block.T)
        except soundfile.LibsndfileError as error:
            raise ClipError(
                self.path, f"unreadable ({error})", "Fetch the file again."
            ) from error

    def unread(self) -> str:
        """Return a note where another FLAC follows in the file, else ""."""
        with open(self.path, "rb") as f:
            if f.read(4) != b"fLaC":
                return ""
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(_FLAC_BEGIN, 4) < 0:
                    return ""
        return "another FLAC follows in the same file, and is not read"


class _Data(NamedTuple):
    """Where the samples of a WAV lie: libsndfile's name of their type, bytes."""

    subtype: str
    begin: int
    size: int

    def window(self, f: io.BufferedReader):
        """Return a file of the samples only, and how libsndfile opens it."""
        raw = {"format": "RAW", "subtype": self.subtype, "endian": "LITTLE"}
        return _Window(f, self.begin, self.size), raw


def plain_sound(path: PathLike) -> Optional[PlainSound]:
    """Return what libsndfile can read of a file; None: leave it to FFmpeg.

    That is decided by the file's first bytes, not by its name.
    """
    import soundfile

    path = str(path)
    if not os.path.isfile(path):  # opening a pipe would wait for its other end
        return None
    try:
        with open(path, "rb") as f:
            head = f.read(12)
            if head[:4] == b"fLaC":
                found = None
            elif head[:4] in (*_RIFF, *_WIDE, b"RIFX") and head[8:] == b"WAVE":
                found = None if head[:4] == b"RIFX" else _read_header(f)
            else:
                return None
        if found is not None and found.note:
            if found.data is None:
                return None
            length = found.data.size // found.align
            data = found.data._replace(size=length * found.align)
            return PlainSound(path, found.fs, found.channels, length, found.note, data)
        info = soundfile.info(os.fsencode(path))
    except (OSError, soundfile.LibsndfileError):
        return None
    if info.frames == _UNKNOWN_FRAMES:
        return None
    length = info.frames
    if found is not None and found.stated is not None:
        length = max(length, found.stated // found.align)
    lacking = length - info.frames
    return PlainSound(path, info.samplerate, info.channels, length, lacking=lacking)


class _Header(NamedTuple):
    """What the header of a WAV says; ``stated``: bytes where the file lacks some."""

    fs: int
    channels: int
    align: int
    note: str
    data: Optional[_Data]
    stated: Optional[int]


def _read_header(f: io.BufferedReader) -> Optional[_Header]:
    """Read a WAV's chunks up to its samples; None where that is not possible."""
    size = os.fstat(f.fileno()).st_size
    fmt = b""
    wide_size = None
    while len(header := f.read(8)) == 8:
        name, length = struct.unpack("<4sI", header)
        if name == b"fmt ":
            fmt = f.read(min(length, 64))
            f.seek(length + length % 2 - len(fmt), io.SEEK_CUR)
        elif name == b"ds64" and length >= 24:
            wide_size = struct.unpack("<8xQ8x", f.read(24))[0]
            f.seek(length + length % 2 - 24, io.SEEK_CUR)
        elif name == b"data":
            break
        else:
            f.seek(length + length % 2, io.SEEK_CUR)
    else:
        return None
    if len(fmt) < 16:
        return None
    tag, channels, fs, _, align, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        (tag,) = struct.unpack("<H", fmt[24:26])
    if not (channels and fs and align):
        return None
    begin = f.tell()
    there = size - begin
    wide = length == 0xFFFFFFFF and wide_size is not None
    if wide:
        length = wide_size
    unknown = _UNKNOWN_WIDE_SIZE if wide else _UNKNOWN_SIZE
    placed = not wide and any(low <= length <= high for low, high in _PLACEHOLDERS)
    rest = _after(f, begin + length, size) if length < there else b""
    taken, note = length, ""
    loose = length < there and not _is_chunk(rest, there - length)
    if length == 0 and there and loose:
        taken, note = there, "its header states no sample, but some follow"
    elif (length > there and length >= unknown) or (placed and loose):
        taken, note = there, "its header does not state its length"
    elif there - length >= 1 << 32 and not wide:
        taken += (there - length) >> 32 << 32
        note = "it is longer than the 4 GiB that its header can state"
    elif rest[:4] in (*_RIFF, *_WIDE):
        note = "another WAV follows in the same file, and is not read"
    elif loose and _has_content(f, begin + length, size):
        note = f"{there - length} bytes follow the length that its header states"
    if note:
        note += f"; {taken // align / fs:.2f} s are read"
    subtype = _RAW.get((tag, bits))
    data = None
    if subtype is not None and align == channels * (bits // 8):
        data = _Data(subtype, begin, taken)
    stated = length if there < length and not note else None
    return _Header(fs, channels, align, note, data, stated)


def _after(f: io.BufferedReader, at: int, size: int) -> bytes:
    """Return some bytes behind the samples; an odd number of them may be padded."""
    f.seek(at)
    found = f.read(4096)
    return found[1:] if at % 2 and _is_chunk(found[1:], size - at - 1) else found


def _has_content(f: io.BufferedReader, begin: int, end: int) -> bool:
    """Tell whether some part of a stretch, which may be GiB of padding, is not zero."""
    if end - begin < 16:
        return False
    for part in range(32):
        f.seek(begin + (end - begin) * part // 32)
        if f.read(4096).strip(b"\0"):
            return True
    return False


def _is_chunk(header: bytes, there: int) -> bool:
    """Return whether bytes after the samples begin another chunk of the file."""
    name = header[:4].strip(b" \0").replace(b"_", b"")
    if len(header) < 8 or not name.isalnum():
        return False
    return struct.unpack("<I", header[4:8])[0] + 8 <= there + 1


class _Window(io.RawIOBase):
    """A part of a file as a file of its own, for reading."""

    def __init__(self, f: io.BufferedReader, begin: int, size: int):
        self._f, self._begin, self._size = f, begin, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}
        self._at = max(0, base[whence] + offset)
        return self._at

    def readinto(self, buffer) -> int:
        self._f.seek(self._begin + self._at)
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        count = self._f.readinto(view) if len(view) else 0
        self._at += count
        return count
