import os

import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio import track_writer
from espnet2_avsep.data.audio.track_writer import TrackWriter, to_pcm24
from espnet2_avsep.errors import InputError


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_24_bit_samples_come_back_exactly(tmp_path, suffix):
    grid = np.random.default_rng(0).integers(-(2**23), 2**23, (2, 3000))
    samples = (grid / 2**23).astype(np.float32)
    path = tmp_path / f"x.{suffix}"
    with TrackWriter(path, 44100, 2) as writer:
        for begin in range(0, 3000, 700):
            writer.write(samples[:, begin : begin + 700])
        assert not path.exists()
    back, fs = soundfile.read(path, dtype="float32")
    assert fs == 44100 and writer.clipped == 0
    np.testing.assert_array_equal(back.T, samples)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_two_runs_are_byte_identical(tmp_path):
    for name in ("a.wav", "b.wav"):
        with TrackWriter(tmp_path / name, 8000) as writer:
            writer.write(np.linspace(-1, 1, 99))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_clipping_is_counted_and_never_wraps():
    samples, clipped = to_pcm24(np.array([1.0, 2.0, -1.0, -1.5, 0.0]))
    assert clipped == 3
    assert (samples >> 8).tolist() == [2**23 - 1, 2**23 - 1, -(2**23), -(2**23), 0]


def test_float_keeps_what_exceeds_full_scale(tmp_path):
    samples = np.array([1.5, -2.0, 0.1], np.float32)
    with TrackWriter(tmp_path / "x.wav", 8000, audio_format="float") as writer:
        writer.write(samples)
    back, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
    np.testing.assert_array_equal(back, samples)
    assert writer.clipped == 0


def test_mp3_has_the_length_and_the_sound(tmp_path):
    samples = 0.5 * np.sin(np.arange(30123) / 9)
    with TrackWriter(tmp_path / "x.mp3", 44100) as writer:
        writer.write(np.r_[samples[:9000], 2.0])
        writer.write(samples[9001:])
    back, fs = soundfile.read(tmp_path / "x.mp3")
    assert (fs, len(back), writer.clipped) == (44100, 30123, 1)
    assert np.abs(back - samples)[12000:29000].max() < 0.02


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), TrackWriter(tmp_path / "x.wav", 8000) as writer:
        writer.write(np.zeros(10))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    with (
        pytest.raises(InputError, match="only 10 of 20 samples"),
        TrackWriter(tmp_path / "x.wav", 8000) as writer,
    ):
        writer.write(np.zeros(10))
        writer._written += 10
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_while_samples_are_written(tmp_path, monkeypatch):
    def full(*_):
        raise soundfile.LibsndfileError(2)  # "System error."

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with (
        pytest.raises(InputError, match="x.wav: cannot be written.*Free some space"),
        TrackWriter(tmp_path / "x.wav", 8000) as writer,
    ):
        writer.write(np.zeros(10))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    with TrackWriter(folder / "x.wav", 8000) as writer:
        writer.write(np.zeros(10))
    assert (folder / "x.wav").is_file()


def test_long_files_get_another_header(tmp_path, monkeypatch):
    monkeypatch.setattr(track_writer, "_RIFF_BYTES", 100)
    with TrackWriter(tmp_path / "x.wav", 8000, 1, 99) as writer:
        writer.write(np.zeros(99))
    assert (tmp_path / "x.wav").read_bytes()[:4] == b"RF64"
    assert soundfile.info(tmp_path / "x.wav").frames == 99


def test_what_no_file_can_have(tmp_path):
    with pytest.raises(InputError, match="unknown audio format"):
        TrackWriter(tmp_path / "x.ogg", 8000)
    with pytest.raises(InputError, match="expected a name that ends in"):
        TrackWriter(tmp_path / "x.mp3", 8000, audio_format="wav")
    with pytest.raises(InputError, match="only supports sample rates"):
        TrackWriter(tmp_path / "x.mp3", 11625)
    with pytest.raises(InputError, match="9 channels"):
        TrackWriter(tmp_path / "x.flac", 8000, 9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, channels, fs, remedy",
    [
        ("x.flac", 9, 8000, "8 channels"),
        ("x.flac", 1, 700_000, "655350 Hz"),
        ("x.mp3", 6, 8000, "2 channels"),
        ("x.mp3", 1, 11625, "11.025"),
    ],
)
def test_what_a_format_cannot_hold_is_said(tmp_path, name, channels, fs, remedy):
    """It was "Format not recognised", and one remedy for all."""
    with pytest.raises(InputError) as error:
        TrackWriter(tmp_path / name, fs, channels)
    text = str(error.value)
    assert f"cannot hold {channels} channels at {fs} Hz" in text and remedy in text
