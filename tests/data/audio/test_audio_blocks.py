import av
import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio import audio_blocks
from espnet2_avsep.data.audio.audio_blocks import AudioBlocks
from espnet2_avsep.media.container import ClipError
from tests.support.media_fixtures import (
    tone,
    truncate,
    write_clip,
    write_video,
    write_wav,
)


def read(path):
    return np.concatenate(list(AudioBlocks(path)), axis=-1)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_wav_and_flac_by_value(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(audio_blocks, "BLOCK", 1000)
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (5500, 2), np.int16)
    soundfile.write(tmp_path / f"x.{suffix}", samples, 22050)
    blocks = AudioBlocks(tmp_path / f"x.{suffix}")
    assert (blocks.fs, blocks.channels, blocks.length) == (22050, 2, 5500)
    found = list(blocks)
    assert max(block.shape[-1] for block in found) == 1000
    np.testing.assert_array_equal(
        np.concatenate(found, axis=-1), samples.T / np.float32(2**15)
    )


def test_video_with_two_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_blocks, "BLOCK", 4096)
    left, right = tone(2, 22050, 440), tone(2, 22050, 1000, 0.25)
    write_video(tmp_path / "x.mp4", audio=np.stack([left, right]))
    blocks = AudioBlocks(tmp_path / "x.mp4")
    assert (blocks.fs, blocks.channels) == (22050, 2)
    found = list(blocks)
    assert len(found) > 5
    sound = np.concatenate(found, axis=-1)
    assert abs(sound.shape[-1] - len(left)) <= 1024 and blocks.length >= len(left)
    for channel, hertz, level in zip(sound, (440, 1000), (0.5, 0.25), strict=True):
        spectrum = np.abs(np.fft.rfft(channel))
        peak = np.fft.rfftfreq(len(channel), 1 / 22050)[spectrum.argmax()]
        assert abs(peak - hertz) < 2
        assert abs(channel.std() * np.sqrt(2) - level) < 0.02


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ClipError, match="file not found"):
        AudioBlocks(tmp_path / "no.wav")
    with pytest.raises(ClipError, match="is a folder"):
        AudioBlocks(tmp_path)
    with pytest.raises(ClipError, match="no audio stream"):
        AudioBlocks(write_video(tmp_path / "mute.mp4"))
    (tmp_path / "text.wav").write_text("no sound at all")
    with pytest.raises(ClipError, match="unreadable"):
        AudioBlocks(tmp_path / "text.wav")
    write_wav(tmp_path / "nan.wav", np.array([0, np.nan, 0]), 8000)
    with pytest.raises(ClipError, match="NaN"):
        read(tmp_path / "nan.wav")
    write_wav(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(ClipError, match="no audio samples"):
        read(tmp_path / "empty.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mkv"])
def test_truncated(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    if suffix == "mkv":
        write_clip(path, 4.0)
    else:
        noise = np.random.default_rng(0).normal(size=88200) / 10
        soundfile.write(path, noise, 22050, subtype="PCM_16")
    truncate(path, 0.5)
    with pytest.raises(ClipError, match="truncated|unreadable"):
        read(path)


def test_change_of_rate_in_mid_stream(tmp_path):
    """Two ADTS streams, one after the other."""
    for name, rate in (("a", 44100), ("b", 22050)):
        with av.open(str(tmp_path / f"{name}.aac"), "w", format="adts") as container:
            stream = container.add_stream("aac", rate=rate, layout="mono")
            for _ in range(20):
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                frame.sample_rate = rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    both = (tmp_path / "a.aac").read_bytes() + (tmp_path / "b.aac").read_bytes()
    (tmp_path / "ab.aac").write_bytes(both)
    with pytest.raises(ClipError, match="sampling rate changes from 44100 to 22050"):
        read(tmp_path / "ab.aac")
