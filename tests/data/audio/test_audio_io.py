import errno

import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.audio.audio_io import (
    audio_span,
    load_audio,
    read_audio,
    resample,
    to_pcm16,
    write_audio,
)
from espnet2_avsep.data.tables.table_entry import Command
from espnet2_avsep.errors import InputError, clear_disk_errors
from espnet2_avsep.media.container import ClipError
from tests.support.media_fixtures import (
    blank_out,
    tone,
    truncate,
    write_clip,
    write_video,
    write_wav,
)


def peak(audio, rate):
    """Frequency in Hz and level of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) / len(audio) * 4
    at = int(spectrum.argmax())
    return at * rate / len(audio), spectrum[at]


@pytest.mark.parametrize("rate", [44100, 48000, 22050, 8000])
def test_a_tone_keeps_pitch_and_level_when_resampled(rate):
    audio = resample(tone(2.0, rate, 1000.0, 0.5), rate, 11625)
    assert abs(len(audio) - 2 * 11625) <= 1
    assert audio.dtype == np.float32
    hertz, level = peak(audio, 11625)
    assert hertz == pytest.approx(1000, abs=0.5)
    assert level == pytest.approx(0.5, rel=0.01)
    inner = slice(200, -200)
    expected = tone(2.0, 11625, 1000.0, 0.5)
    np.testing.assert_allclose(audio[inner], expected[: len(audio)][inner], atol=1e-3)


def test_what_the_new_rate_cannot_hold_is_filtered_out():
    audio = resample(tone(1.0, 44100, 9000.0), 44100, 11625)
    assert np.abs(audio[200:-200]).max() < 1e-3


def test_the_same_rate_changes_nothing(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    path = write_wav(tmp_path / "a.wav", samples, 11625)
    np.testing.assert_array_equal(load_audio(str(path), 11625), samples)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_channels_are_averaged(tmp_path, ending):
    stereo = np.stack([tone(0.5, 8000, 500.0), tone(0.5, 8000, 900.0)])
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, stereo.T, 8000, subtype="PCM_16")
    audio, rate = read_audio(str(path))
    assert rate == 8000
    np.testing.assert_allclose(audio, stereo.mean(0), atol=1 / 32768)


@pytest.mark.parametrize(
    "name, codec",
    [("a.mkv", "flac"), ("a.mkv", "pcm_s16le"), ("a.avi", "pcm_s16le")],
)
def test_lossless_sound_of_a_video_is_exact(tmp_path, name, codec):
    left, right = tone(0.8, 16000, 300.0), tone(0.8, 16000, 700.0, 0.25)
    path = write_video(
        tmp_path / name,
        frames=20,
        codec="mpeg4",
        audio=np.stack([left, right]),
        rate=16000,
        audio_codec=codec,
    )
    audio, rate = read_audio(str(path))
    assert rate == 16000
    np.testing.assert_allclose(audio, (left + right) / 2, atol=1e-4)


def test_aac_of_an_mp4_starts_with_the_first_sample(tmp_path):
    """The encoder's priming samples are cut off, so sound and picture stay in step."""
    click = np.zeros(22050, np.float32)
    click[11025:11035] = 0.8
    path = write_video(tmp_path / "a.mp4", frames=25, audio=click)
    audio, rate = read_audio(str(path))
    assert abs(int(np.abs(audio).argmax()) - 11030) <= 20
    assert len(audio) == pytest.approx(22050, abs=1024)


def test_video_to_the_corpus_rate(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 2.0, 1000.0, rate=44100)
    audio = load_audio(str(path), 11625)
    hertz, level = peak(audio, 11625)
    assert hertz == pytest.approx(1000, abs=1)
    assert level == pytest.approx(0.5, rel=0.05)


def test_kaldi_pipe(tmp_path):
    samples = tone(0.5, 8000)
    path = write_wav(tmp_path / "a.wav", samples, 8000)
    audio, rate = read_audio(Command(f"cat {path} |"))
    assert rate == 8000
    np.testing.assert_array_equal(audio, samples)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_pipe_that_does_not_know_its_length(tmp_path, size):
    """sox and ffmpeg write such sizes into the headers of wavs that they pipe."""
    samples = tone(0.5, 8000)
    path = write_wav(tmp_path / "a.wav", samples, 8000, "PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    audio, _ = read_audio(Command(f"cat {path} |"))
    np.testing.assert_allclose(audio, samples, atol=1 / 32767)


def test_pipes_that_fail(tmp_path):
    with pytest.raises(ClipError, match="exit status 3: no such tape"):
        read_audio(Command("sh -c 'echo no such tape >&2; exit 3' |"))
    with pytest.raises(ClipError, match="printed nothing"):
        read_audio(Command("true |"))
    with pytest.raises(ClipError, match="unreadable"):
        read_audio(Command("echo this is no sound |"))


def test_duration_and_start(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 2.0)
    duration, start = audio_span(str(path))
    assert (duration, start) == (pytest.approx(2.0, abs=0.05), 0.0)
    wav = write_wav(tmp_path / "a.wav", tone(1.25, 8000), 8000)
    assert audio_span(str(wav)) == (1.25, 0.0)
    assert audio_span(Command(f"cat {wav} |")) == (1.25, 0.0)
    with pytest.raises(ClipError, match="no audio stream"):
        audio_span(str(write_video(tmp_path / "v.mp4")))


def test_duration_that_is_not_stated_is_measured(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(3.0, 16000), 16000)
    content = path.read_bytes()
    path.write_bytes(content + content)  # the header tells of the first half only
    assert audio_span(str(path))[0] == pytest.approx(6.0, abs=0.2)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp4"])
def test_missing_empty_and_unreadable_files(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    with pytest.raises(ClipError, match="file not found"):
        read_audio(str(path))
    path.write_bytes(b"")
    with pytest.raises(ClipError, match="zero-length file"):
        read_audio(str(path))
    path.write_bytes(b"\x07\x12" * 5000)
    with pytest.raises(ClipError, match="unreadable|no audio samples"):
        read_audio(str(path))


def test_video_without_sound(tmp_path):
    with pytest.raises(ClipError, match="no audio stream") as error:
        read_audio(str(write_video(tmp_path / "v.mp4")))
    assert error.value.reason == "no audio stream"


def test_wav_without_samples(tmp_path):
    path = write_wav(tmp_path / "a.wav", np.zeros(0), 8000)
    with pytest.raises(ClipError, match="no audio samples"):
        read_audio(str(path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(tmp_path, value):
    samples = tone(0.5, 8000)
    samples[[100, 200]] = value
    path = write_wav(tmp_path / "a.wav", samples, 8000)
    with pytest.raises(ClipError, match="2 samples are NaN or infinite"):
        read_audio(str(path))


@pytest.mark.parametrize(
    "name, subtype", [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")]
)
def test_truncated_sound_files(tmp_path, name, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32000)
    path = write_wav(tmp_path / name, noise, 8000, subtype)
    assert len(read_audio(str(path))[0]) == 32000
    with pytest.raises(ClipError, match="truncated"):
        read_audio(str(truncate(path, 0.5)))


def test_truncated_sound_of_videos(tmp_path):
    path = write_clip(
        tmp_path / "a.mp4", 4.0, container_options={"movflags": "faststart"}
    )
    with pytest.raises(ClipError, match="truncated"):
        read_audio(str(truncate(path, 0.5, tmp_path / "b.mp4")))
    with pytest.raises(ClipError, match="truncated"):
        read_audio(str(blank_out(path, 0.4, 0.5)))


def test_a_file_cut_at_its_very_end_is_used_with_a_warning(tmp_path, caplog):
    path = write_clip(
        tmp_path / "a.mp4", 4.0, container_options={"movflags": "faststart"}
    )
    audio, rate = read_audio(str(truncate(path, 0.97)))
    assert 3.6 < len(audio) / rate < 4.0
    assert "its sound ends at 3.8" in caplog.text
    assert "left out: 1 packet of its sound" in caplog.text


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_pcm_round_trip_is_exact(tmp_path, ending):
    values = np.arange(-32768, 32768, 7) / 32768
    path = tmp_path / "deep" / f"a.{ending}"
    assert write_audio(path, values, 11625) == 0
    audio, rate = read_audio(str(path))
    assert rate == 11625
    np.testing.assert_array_equal(audio, values.astype(np.float32))
    assert soundfile.info(path).subtype == "PCM_16"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_loud_samples_are_clipped_and_counted(tmp_path, caplog):
    samples, clipped = to_pcm16(np.array([0.5, 1.0, -1.0, 1.7, -3.0, 2.0**40]))
    assert samples.tolist() == [16384, 32767, -32768, 32767, -32768, 32767]
    assert clipped == 4
    assert write_audio(tmp_path / "a.wav", np.array([0.0, 2.0]), 8000) == 1
    assert "1 of 2 samples exceeded full scale and were clipped" in caplog.text


def test_unusable_output(tmp_path):
    with pytest.raises(InputError, match="unknown audio format"):
        write_audio(tmp_path / "a.mp3", np.zeros(3), 8000)
    with pytest.raises(InputError, match="NaN"):
        write_audio(tmp_path / "a.wav", np.array([np.nan]), 8000)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("espnet2_avsep.data.tables.scp.os.fsync", full)
    with pytest.raises(InputError, match="no space left on device. Free some space"):
        write_audio(tmp_path / "a.wav", np.zeros(100), 8000)
    assert list(tmp_path.iterdir()) == []


def test_only_full_disks_are_reworded():
    with pytest.raises(PermissionError), clear_disk_errors("a"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_bytes_do_not_depend_on_the_time(tmp_path):
    for name in ("a.wav", "b.wav"):
        write_audio(tmp_path / name, tone(0.1, 8000), 8000)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
