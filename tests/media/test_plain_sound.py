"""WAVs whose header does not state their length, and FLACs without one."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
from espnet2_avsep.data.audio.audio_io import audio_span, read_audio
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.media.plain_sound import plain_sound
from espnet2_avsep.media.stream import probe
from tests.support.media_fixtures import tone

FS = 8000


def write_header(f, size: int, channels: int = 1, bits: int = 16, tag: int = 1) -> None:
    """Write the header of a WAV that states ``size`` bytes of samples."""
    align = channels * bits // 8
    f.write(b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt ")
    f.write(struct.pack("<IHHIIHH", 16, tag, channels, FS, FS * align, align, bits))
    f.write(b"data" + struct.pack("<I", size))


def write(path: Path, samples: np.ndarray, size: int, more: bytes = b"") -> Path:
    with path.open("wb") as f:
        write_header(f, size)
        f.write(samples.astype("<i2").tobytes() + more)
    return path


@pytest.fixture
def samples():
    return np.round(tone(0.5, FS) * 32000).astype(np.int16)


@pytest.mark.parametrize(
    "size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF80]
)
def test_sizes_that_mean_unknown(tmp_path, samples, size, caplog):
    path = write(tmp_path / "a.wav", samples, size)
    audio, _ = read_audio(str(path))
    np.testing.assert_array_equal(audio, samples / np.float32(32768))
    assert "its header" in caplog.text and "0.50 s are read" in caplog.text
    assert audio_span(str(path)) == (0.5, 0.0)
    assert AudioBlocks(path).length == probe(path).samples == len(samples)


def test_what_follows_the_samples_is_no_sound(tmp_path, samples, caplog):
    tags = b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
    for more in (tags, bytes(1000), bytes(1 << 20)):
        path = write(tmp_path / "a.wav", samples, 2 * len(samples), more)
        assert len(read_audio(str(path))[0]) == len(samples)
    path = write(tmp_path / "b.wav", samples[:0], 0, tags)
    with pytest.raises(ClipError, match="no audio samples"):
        read_audio(str(path))
    assert not caplog.text


def test_zeros_behind_the_samples_cost_nothing(tmp_path, samples):
    path = write(tmp_path / "a.wav", samples, 2 * len(samples))
    with path.open("r+b") as f:
        f.truncate(200 << 20)  # a sparse file
    assert probe(path).audio_duration == 0.5
    assert len(read_audio(str(path))[0]) == len(samples)


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0, None])
@pytest.mark.parametrize("tag, bits", [(1, 24), (3, 32)])
def test_more_than_4_gib(tmp_path, stated, tag, bits):
    """None: only the lowest 32 bits of the size are in the header."""
    channels = 8
    align = channels * bits // 8
    frames = (5 << 30) // align
    size = frames * align
    path = tmp_path / "a.wav"
    with path.open("wb") as f:
        write_header(f, size % 2**32 if stated is None else stated, channels, bits, tag)
        begin = f.tell()
        f.truncate(begin + size)
        f.seek(begin + size - align)  # the last sample is the only one above 0
        one = struct.pack("<f", 0.5) if tag == 3 else b"\0\0\x40"
        f.write(one * channels)
    found = plain_sound(path)
    assert (found.length, found.channels, found.fs) == (frames, channels, FS)
    assert "s are read" in found.note
    assert probe(path).samples == frames
    data = found._data
    with path.open("rb") as f:
        window, options = data.window(f)
        options.update(samplerate=FS, channels=channels)
        with soundfile.SoundFile(window, **options) as sound:
            assert sound.frames == frames
            sound.seek(frames - 2)
            end = sound.read()
    np.testing.assert_array_equal(end, [[0.0] * channels, [0.5] * channels])


def test_sound_behind_the_stated_length_is_reported(tmp_path, samples, caplog):
    path = write(tmp_path / "a.wav", samples, len(samples))  # half of it
    assert len(read_audio(str(path))[0]) == len(samples) / 2
    assert f"{len(samples)} bytes follow the length that its header" in caplog.text


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_second_file_joined_to_the_first_is_reported(tmp_path, ending, caplog):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, tone(0.5, FS), FS)
    path.write_bytes(path.read_bytes() * 2)
    assert len(read_audio(str(path))[0]) == 0.5 * FS
    assert "follows in the same file, and is not read" in caplog.text


@pytest.mark.parametrize("head", [b"RF64", b"BW64"])
@pytest.mark.parametrize("stated", [0, 2**64 - 1])
def test_rf64_that_was_never_closed(tmp_path, head, stated, caplog):
    path = tmp_path / "a.wav"
    expected = tone(0.5, FS)
    soundfile.write(path, expected, FS, "FLOAT", format="RF64")
    content = bytearray(path.read_bytes())
    assert content[:4] == b"RF64"
    content[:4] = head
    at = content.index(b"ds64") + 16  # the size of the samples
    content[at : at + 8] = struct.pack("<Q", stated)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(str(path))[0], expected)
    assert "0.50 s are read" in caplog.text


def test_a_cut_rf64_is_truncated(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, FS), FS, format="RF64")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ClipError, match="of 0.50 s of audio can be read"):
        read_audio(str(path))


def test_a_wav_that_lacks_its_end_is_used_and_reported(tmp_path, samples, caplog):
    path = write(tmp_path / "a.wav", np.tile(samples, 6), 12 * len(samples))
    with path.open("r+b") as f:
        f.truncate(path.stat().st_size - 2000)
    assert len(read_audio(str(path))[0]) == 6 * len(samples) - 1000
    assert "its sound ends at 2.88 s, 3.00 s are stated" in caplog.text


@pytest.mark.parametrize("stated", [0xFFFFFFFF, None])
def test_names_that_are_not_utf8(tmp_path, samples, stated):
    """soundfile cannot encode them."""
    path = tmp_path / os.fsdecode(b"\xff.wav")
    write(path, samples, 2 * len(samples) if stated is None else stated)
    assert len(read_audio(str(path))[0]) == len(samples)


def test_a_cut_wav_is_truncated(tmp_path, samples):
    path = write(tmp_path / "a.wav", samples, 4 * len(samples))
    with pytest.raises(ClipError, match="truncated .0.50 s of 1.00 s"):
        read_audio(str(path))


def test_the_first_bytes_decide_and_not_the_name(tmp_path, samples):
    path = write(tmp_path / "a.mp4", samples, 0xFFFFFFFF)
    assert len(read_audio(str(path))[0]) == len(samples)
    soundfile.write(tmp_path / "b.ogg", samples, FS, format="OGG")
    named = (tmp_path / "b.ogg").rename(tmp_path / "b.wav")
    assert plain_sound(named) is None
    assert len(read_audio(str(named))[0]) == pytest.approx(len(samples), abs=128)


def test_flac_of_unknown_length(tmp_path, samples):
    path = tmp_path / "a.flac"
    soundfile.write(path, samples, FS)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # 0 samples: not known
    path.write_bytes(content)
    audio, _ = read_audio(str(path))
    np.testing.assert_array_equal(audio, samples / np.float32(32768))
    assert AudioBlocks(path).length is None
    assert audio_span(str(path)) == (0.5, 0.0)


def test_piped_aiff(tmp_path):
    """Programs that pipe an AIFF state 2 GiB of samples."""
    path = tmp_path / "a.aiff"
    soundfile.write(path, tone(2.0, FS), FS, "PCM_16")
    assert probe(path).samples == 2 * FS
    content = bytearray(path.read_bytes())
    for name, place, value in ((b"COMM", 10, 0x3FFFFFFF), (b"SSND", 4, 0x7FFFFFFF)):
        at = content.index(name) + place
        content[at : at + 4] = struct.pack(">I", value)
    path.write_bytes(content)
    assert probe(path).samples is None
    assert len(read_audio(str(path))[0]) == 2 * FS
    assert audio_span(str(path)) == (2.0, 0.0)
