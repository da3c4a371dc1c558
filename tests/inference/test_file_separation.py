import numpy as np
import pytest
import soundfile

from espnet2_avsep import Chunking, SeparateAV, separate_file
from espnet2_avsep.errors import InputError
from tests.support.media_fixtures import truncate, write_video
from tests.support.tiny_corpus import DIM
from tests.support.trained_model import make_trained_folder

RATE = 8000


@pytest.fixture(scope="module")
def separate(tmp_path_factory):
    return SeparateAV.from_pretrained(
        make_trained_folder(tmp_path_factory.mktemp("exp"))
    )


def prompts(n=2):
    return list(np.eye(DIM, dtype=np.float32)[:n])


def pcm16(seconds, channels=2):
    rng = np.random.default_rng(0)
    return rng.integers(-9000, 9000, (round(seconds * RATE), channels), np.int16)


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
@pytest.mark.parametrize("channels", ["each", "mean"])
@pytest.mark.parametrize("bandwidth", ["model", "full"])
def test_files_add_up_exactly(tmp_path, separate, audio_format, channels, bandwidth):
    samples = pcm16(3.3)
    soundfile.write(tmp_path / "in.wav", samples, RATE)
    told = []
    found = separate_file(
        *(separate, tmp_path / "in.wav", prompts(), tmp_path / "out"),
        names=["flute", "cello"],
        audio_format=audio_format,
        channels=channels,
        bandwidth=bandwidth,
        progress=lambda done, total: told.append((done, total)),
    )
    assert list(found.tracks) == ["flute", "cello", "residual"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        f"{name}.{audio_format}" for name in found.tracks
    )
    tracks = [
        soundfile.read(path, dtype="int32", always_2d=True)[0] >> 8
        for path in found.tracks.values()
    ]
    expected = samples.astype(np.int64) << 8
    if channels == "mean":
        expected = expected.sum(axis=1, keepdims=True) // 2
    assert tracks[0].shape == expected.shape == (found.samples, found.channels)
    np.testing.assert_array_equal(sum(tracks), expected)
    assert told[-1] == (3.3, 3.3) and not any(found.clipped.values())
    whole = separate(
        (samples / 2.0**15).T,
        prompts(),
        RATE,
        channels=channels,
        residual=True,
        chunking=Chunking(),
        bandwidth=bandwidth,
    )
    np.testing.assert_array_equal(
        np.squeeze(tracks[0] / np.float32(2**23)).T, np.squeeze(whole[0])
    )


def test_video_in(tmp_path, separate):
    sound = (pcm16(2.0, 1)[:, 0] / 2.0**15).astype(np.float32)
    write_video(tmp_path / "in.mp4", audio=sound, rate=RATE)
    found = separate_file(separate, tmp_path / "in.mp4", prompts(), tmp_path / "out")
    assert list(found.tracks) == ["track1", "track2", "residual"]
    assert found.fs == RATE and abs(found.samples - 2 * RATE) <= 1024
    assert {soundfile.info(p).frames for p in found.tracks.values()} == {found.samples}


def test_a_failure_leaves_nothing(tmp_path, separate):
    write_video(tmp_path / "in.mkv", audio=np.zeros(4 * RATE, np.float32), rate=RATE)
    truncate(tmp_path / "in.mkv", 0.5)
    with pytest.raises(InputError, match="truncated"):
        separate_file(separate, tmp_path / "in.mkv", prompts(), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_names(tmp_path, separate):
    for names in (["a"], ["a", "a"], ["a", "residual"]):
        with pytest.raises(InputError, match="2 different names"):
            separate_file(separate, "x.wav", prompts(), tmp_path, names)


def test_a_file_that_is_too_short_is_named(tmp_path, separate):
    """Of several inputs the message did not say which it was about."""
    soundfile.write(tmp_path / "blip.wav", pcm16(0.01), RATE)
    needed = f"{1000 * separate.shortest:.3g} ms at least"
    with pytest.raises(InputError, match=f"blip.wav: lasts 10 ms.*{needed}"):
        separate_file(separate, tmp_path / "blip.wav", prompts(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_clipped_samples_are_noted_with_the_remedy(tmp_path, separate, caplog):
    loud = 9.0 * np.sin(np.arange(2 * RATE) / 5.0)
    soundfile.write(tmp_path / "loud.wav", loud, RATE, "FLOAT")
    found = separate_file(separate, tmp_path / "loud.wav", prompts(), tmp_path / "out")
    count = found.clipped["residual"]
    assert count > 1000 and f"residual {count}" in found.notes[-1]
    assert "loud.wav: " in caplog.text and "--format float" in caplog.text
    found = separate_file(
        *(separate, tmp_path / "loud.wav", prompts(), tmp_path / "kept"),
        audio_format="float",
    )
    tracks = [soundfile.read(path)[0] for path in found.tracks.values()]
    assert not found.notes
    np.testing.assert_allclose(sum(tracks), loud, atol=1e-5)


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "", ".", "a\0"])
def test_no_name_of_a_track_leaves_the_output_folder(tmp_path, separate, name):
    """names=["../a"] was written beside the folder."""
    soundfile.write(tmp_path / "in.wav", pcm16(0.5), RATE)
    with pytest.raises(InputError, match="is no name of a file"):
        separate_file(
            separate, tmp_path / "in.wav", prompts(1), tmp_path / "out", names=[name]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_a_name_is_no_mixture(separate):
    """It said: the mixture is <U7."""
    with pytest.raises(InputError, match="separate_file separates a file"):
        separate("mix.wav", prompts(1), RATE)
