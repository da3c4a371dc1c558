"""Read the samples of a segment and single visual rows, and nothing else of the files.

A clip is a mono audio file and a Kaldi matrix of n rows, one visual embedding each, or
n packed frames (data/frame_store.py), which are rows of another shape. Row i is at
the time (i + 0.5) / n of the clip's duration.
"""

import os
import struct
from typing import List, Optional, Sequence, Tuple

import numpy as np
import soundfile

from espnet2_avsep.data.frame_store import (
    PackedFrames,
    decode,
    frames_shape,
    is_frames,
    read_jpegs,
)
from espnet2_avsep.data.tables.table_entry import load_matrix, parse_ref, unreadable
from espnet2_avsep.errors import InputError

# Start of a binary Kaldi object -> bytes of a value. M: matrix, V: vector of one row.
_MATRIX_TYPES = {b"\0BFM ": "<f4", b"\0BDM ": "<f8"}
_VECTOR_TYPES = (b"\0BFV ", b"\0BDV ")
_COMPRESSED_TYPES = (b"\0BCM ", b"\0BCM2", b"\0BCM3")
_HEADER_BYTES = 32
# The shortest header of a mono wav file of 16 bit samples: RIFF size WAVE, the chunk
# "fmt " (16 bytes, PCM, 1 channel, rate, bytes a second, 2 bytes a frame, 16 bit), and
# the start of the chunk "data" with its size.
_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_WAV_MONO_16 = (b"WAVE", b"fmt ", 16, 1, 1, 2, 16, b"data")


def audio_info(path: str) -> Tuple[int, int]:
    """Return (number of samples, sampling rate in Hz) of a mono file, from its header.

    Raises:
        InputError: the file is missing, no audio, or not mono.
    """
    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise unreadable(str(path), error) from error
    _check_mono(path, info.channels)
    return info.frames, info.samplerate


def check_sample_rate(path: str, sample_rate: int) -> None:
    """Raise an InputError unless an audio file has this sampling rate (Hz)."""
    _, rate = audio_info(path)
    if rate != sample_rate:
        raise InputError(
            f"{path}: sampled at {rate} Hz, expected {sample_rate}. Format the audio "
            f"at this rate (stage 3, --fs {sample_rate}), or train at {rate} Hz."
        )


def read_segment(path: str, start: int = 0, num: Optional[int] = None) -> np.ndarray:
    """Read ``num`` samples from ``start`` on, seeking to them.

    Args:
        path: A mono wav or flac file.
        start: First sample.
        num: Number of samples; None reads to the end.

    Returns:
        Samples of shape (num,), float32, full scale = 1.

    Raises:
        InputError: the file cannot be read, is not mono, ends before the segment does,
            or holds NaN or infinite samples there.
    """
    if num is not None:
        samples = _read_plain_wav(path, start, num)
        if samples is not None:
            return samples
    try:
        with soundfile.SoundFile(str(path)) as f:
            _check_mono(path, f.channels)
            wanted = f.frames - start if num is None else num
            if start < 0 or wanted < 1 or start + wanted > f.frames:
                raise InputError(
                    f"{path}: the samples {start} to {start + wanted} were asked for, "
                    f"the file has {f.frames}. Run stages 3 to 5 again, so that the "
                    "tables describe the files."
                )
            f.seek(start)
            # To scale 16 bit samples here is five times as fast as libsndfile's way.
            integer = f.subtype == "PCM_16"
            samples = f.read(wanted, dtype="int16" if integer else "float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise unreadable(str(path), error) from error
    if len(samples) < wanted:
        raise InputError(
            f"{path}: only {len(samples)} of the samples {start} to {start + wanted} "
            "could be read; the file is cut off. Remove it and run stage 3 again."
        )
    if integer:
        return _scale(samples)
    if not is_finite(samples):
        raise InputError(
            f"{path}: NaN or infinite samples between {start} and {start + wanted}. "
            "Remove the clip, or repair the file."
        )
    return samples


def _read_plain_wav(path: str, start: int, num: int) -> Optional[np.ndarray]:
    """Read from a wav file as stage 3 writes it, without a library's detours.

    Three times as fast as libsndfile, and most of what loading a batch costs.

    Returns:
        See read_segment; None for any other file, request, or error.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, TypeError, ValueError):
        return None
    try:
        head = os.pread(handle, _WAV_HEADER.size, 0)
        if len(head) < _WAV_HEADER.size:
            return None
        riff, _, *fields, size = _WAV_HEADER.unpack(head)
        del fields[5:7]  # the rates
        if riff != b"RIFF" or tuple(fields) != _WAV_MONO_16:
            return None
        if start < 0 or num < 1 or 2 * (start + num) > size:
            return None
        data = os.pread(handle, 2 * num, _WAV_HEADER.size + 2 * start)
    except OSError:
        return None
    finally:
        os.close(handle)
    return _scale(np.frombuffer(data, "<i2")) if len(data) == 2 * num else None


def _scale(samples: np.ndarray) -> np.ndarray:
    """16 bit samples to float32, full scale = 1."""
    return np.multiply(samples, np.float32(2.0**-15), dtype=np.float32)


def is_finite(samples: np.ndarray) -> bool:
    """Tell whether all samples are finite; one sum decides in nearly all cases."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = samples.sum(dtype=np.float32)
    return bool(np.isfinite(total) or np.isfinite(samples).all())


def is_silent(samples: np.ndarray, silence_dbfs: float) -> bool:
    """Tell whether the RMS is below ``silence_dbfs`` (dB; a constant 1 has 0 dB).

    Args:
        samples: Shape (L,), float32.
        silence_dbfs: The threshold; minus infinity takes nothing for silent.
    """
    # einsum, not BLAS: BLAS would start threads inside each data worker.
    energy = float(np.einsum("i,i->", samples, samples))
    return energy < len(samples) * 10.0 ** (silence_dbfs / 10.0)


def rows_in_segment(
    start: int, num: int, num_samples: int, num_rows: int
) -> Tuple[int, int]:
    """Return the rows [first, last) that belong to a segment.

    These are the rows whose time lies in [start, start + num); where there is none, the
    one row that is nearest to the segment's centre.

    Args:
        start: First sample of the segment.
        num: Number of samples of the segment.
        num_samples: Number of samples of the clip.
        num_rows: Number of rows of the clip.
    """
    # Row i: (i + 1/2) * num_samples / num_rows >= start, in integers.
    first = -((num_samples - 2 * num_rows * start) // (2 * num_samples))
    last = -((num_samples - 2 * num_rows * (start + num)) // (2 * num_samples))
    first, last = max(first, 0), min(last, num_rows)
    if first < last:
        return first, last
    row = nearest_row(start, num, num_samples, num_rows)
    return row, row + 1


def nearest_row(start: int, num: int, num_samples: int, num_rows: int) -> int:
    """Return the row that is nearest to the centre of a segment.

    Args: see rows_in_segment.
    """
    row = (2 * start + num) * num_rows // (2 * num_samples)
    return min(max(row, 0), num_rows - 1)


def strided_rows(centre: int, count: int, stride: int, num_rows: int) -> List[int]:
    """Return rows around a centre, in order; the end rows are repeated beyond the ends.

    Args:
        centre: The middle row (of an even number, the one after the middle).
        count: How many rows.
        stride: Their distance.
        num_rows: Number of rows of the clip.
    """
    wanted = [centre + (i - count // 2) * stride for i in range(count)]
    return [min(max(row, 0), num_rows - 1) for row in wanted]


def read_shape(audio: str, visual: str) -> Tuple[int, int]:
    """Return (number of samples, number of visual rows) of a clip, from the headers."""
    return audio_info(audio)[0], matrix_shape(visual)[0]


def matrix_shape(ref: str) -> Tuple[int, ...]:
    """Return (rows, D) of a matrix, from its header where the type allows.

    Of packed frames it is (rows, 3, H, W).

    Args:
        ref: ``path:offset`` into an ark, or the path of a file with one matrix.

    Raises:
        InputError: the reference cannot be read as a matrix.
    """
    path, offset, span = parse_ref(ref)
    head = _read_bytes(ref, path, offset, _HEADER_BYTES)
    if is_frames(head):
        return frames_shape(ref, head)
    if not span and head[:5] in _MATRIX_TYPES:
        return _sizes(ref, head)
    if not span and head[:5] in _VECTOR_TYPES and len(head) >= 10:
        return 1, struct.unpack("<i", head[6:10])[0]
    if not span and head[:5] in _COMPRESSED_TYPES:
        at = head.index(b" ") + 9  # after the least value and the range
        if len(head) >= at + 8:
            return struct.unpack("<ii", head[at : at + 8])
    return _load(ref).shape


def read_matrix(ref: str) -> np.ndarray:
    """Read a whole matrix (rows, D), float32; packed frames (rows, 3, H, W), uint8.

    Args: see matrix_shape.
    """
    path, offset, span = parse_ref(ref)
    head = _read_bytes(ref, path, offset, _HEADER_BYTES)
    if is_frames(head):
        return read_rows(ref, range(frames_shape(ref, head)[0]))
    if span or head[:5] not in _MATRIX_TYPES:
        return _check_rows(ref, _load(ref))
    rows, dim = _sizes(ref, head)
    dtype = np.dtype(_MATRIX_TYPES[head[:5]])
    wanted = rows * dim * dtype.itemsize
    data = _read_bytes(ref, path, offset + 15, wanted)
    _check_length(ref, data, wanted)
    matrix = np.frombuffer(data, dtype).reshape(rows, dim).astype(np.float32)
    return _check_rows(ref, matrix)


def read_row(ref: str, row: int) -> np.ndarray:
    """Read one row (D,) of a matrix, float32, or (3, H, W). See read_rows."""
    return read_rows(ref, [row])[0]


def read_rows(ref: str, rows: Sequence[int]) -> np.ndarray:
    """Read single rows of a matrix, seeking to them.

    Only uncompressed binary matrices can be read in part; other types that kaldiio
    knows (compressed, text) are read whole.

    Args:
        ref: ``path:offset`` into an ark, or the path of a file with one matrix.
        rows: Row numbers, from 0.

    Returns:
        Shape (len(rows), D), float32; of packed frames (len(rows), 3, H, W), uint8.

    Raises:
        InputError: the reference cannot be read, has no such row, or the row holds NaN
            or infinite values.
    """
    path, offset, span = parse_ref(ref)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(ref, error) from error
    try:
        head = os.pread(handle, _HEADER_BYTES, offset)
        if is_frames(head):
            _check_numbers(ref, rows, frames_shape(ref, head)[0])
            return decode(ref, read_jpegs(ref, handle, offset, rows))
        if span or head[:5] not in _MATRIX_TYPES:
            matrix = _load(ref)
            _check_numbers(ref, rows, len(matrix))
            return _check_rows(ref, matrix[list(rows)])
        count, dim = _sizes(ref, head)
        _check_numbers(ref, rows, count)
        dtype = np.dtype(_MATRIX_TYPES[head[:5]])
        size = dim * dtype.itemsize
        values = np.empty((len(rows), dim), np.float32)
        for n, row in enumerate(rows):
            data = os.pread(handle, size, offset + 15 + row * size)
            _check_length(ref, data, size)
            values[n] = np.frombuffer(data, dtype)
    finally:
        os.close(handle)
    return _check_rows(ref, values)


def read_packed(ref: str, rows: Sequence[int]) -> Optional[PackedFrames]:
    """Read single frames as they are packed; None where there is a matrix instead.

    Args and errors: see read_rows.
    """
    path, offset, _ = parse_ref(ref)
    head = _read_bytes(ref, path, offset, _HEADER_BYTES)
    if not is_frames(head):
        return None
    _check_numbers(ref, rows, frames_shape(ref, head)[0])
    with open(path, "rb", buffering=0) as f:
        return read_jpegs(ref, f.fileno(), offset, rows)


def _read_bytes(ref: str, path: str, offset: int, size: int) -> bytes:
    try:
        with open(path, "rb") as f:
            f.seek(offset)
            # A damaged header may ask for more than there is memory.
            return f.read(min(size, max(os.fstat(f.fileno()).st_size - offset, 0)))
    except OSError as error:
        raise unreadable(ref, error) from error


def _sizes(ref: str, head: bytes) -> Tuple[int, int]:
    _check_length(ref, head[:15], 15)
    rows, dim = struct.unpack("<xixi", head[5:15])
    if min(rows, dim) < 0:
        raise InputError(f"{ref}: states {rows} rows of {dim} values; it is damaged.")
    return rows, dim


def _load(ref: str) -> np.ndarray:
    """Read whatever else is a matrix, whole; (rows, D) float32."""
    matrix = load_matrix(ref)
    if matrix.ndim == 1:
        matrix = matrix[None]
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise InputError(
            f"{ref}: the visual features are {matrix.dtype} of shape {matrix.shape}; a "
            "matrix (rows, D) of numbers was expected."
        )
    return matrix.astype(np.float32)


def _check_mono(path: str, channels: int) -> None:
    if channels != 1:
        raise InputError(
            f"{path}: {channels} channels where one was expected; stage 3 "
            "(avsep_format_audio) writes mono files."
        )


def _check_numbers(ref: str, rows: Sequence[int], count: int) -> None:
    for row in rows:
        if not 0 <= row < count:
            raise InputError(
                f"{ref}: row {row} was asked for, the matrix has {count}. Run stages "
                "2, 4 and 5 again, so that the tables describe the files."
            )


def _check_length(ref: str, data: bytes, wanted: int) -> None:
    if len(data) < wanted:
        raise InputError(
            f"{ref}: the file ends within the matrix ({len(data)} of {wanted} bytes); "
            "run stage 2 again."
        )


def _check_rows(ref: str, values: np.ndarray) -> np.ndarray:
    if not is_finite(values):
        raise InputError(
            f"{ref}: NaN or infinite values in the visual features; extract them again "
            "(stage 2), or remove the clip."
        )
    return values
