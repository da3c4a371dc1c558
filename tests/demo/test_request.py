import numpy as np
import pytest
import soundfile
from PIL import Image

from espnet2_avsep.bin.avsep_demo import main
from espnet2_avsep.demo.request import (
    cut,
    outline,
    picture_at,
    queries,
    read_boxes,
    separate_recording,
    write_box,
)
from espnet2_avsep.errors import InputError
from tests.media_fixtures import read_number, tone, write_video, write_wav


def test_regions_are_read_and_written():
    assert read_boxes("0, 0.25,0.5, 1\n\n0.5 0 1 1") == [
        (0, 0.25, 0.5, 1),
        (0.5, 0, 1, 1),
    ]
    assert read_boxes("") == []
    # In any order of the corners.
    for one, two in (((10, 40), (50, 20)), ((50, 20), (10, 40)), ((10, 20), (50, 40))):
        assert write_box(one, two, 100, 80) == "0.100, 0.250, 0.500, 0.500"
    for wrong in ("a", "0 0 1", "0.5 0 0.5 1", "0 0 1 1.2", "nan 0 1 1", "0 1 1 0"):
        with pytest.raises(InputError, match="region 2"):
            read_boxes(f"0 0 1 1\n{wrong}")


def test_regions_are_cut_out():
    picture = np.arange(20 * 40 * 3, dtype=np.uint8).reshape(20, 40, 3)
    np.testing.assert_array_equal(cut(picture, (0.5, 0, 1, 0.5)), picture[:10, 20:])
    with pytest.raises(InputError, match="4 x 20 pixels"):
        cut(picture, (0, 0, 0.1, 1))


def test_regions_are_drawn_onto_a_copy():
    picture = np.zeros((40, 80, 3), np.uint8)
    drawn = outline(picture, [(0.5, 0.25, 1.0, 0.75)])
    assert not picture.any()
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 40, 79)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Ten seconds, whose pictures show their numbers; 8 a second."""
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    write_video(path, 80, fps=8)
    return str(path)


def test_prompts_of_a_video(video, tmp_path):
    path = tmp_path / "oboe.png"
    Image.new("RGB", (9, 9)).save(path)
    asked = queries(video, 0.5, "0 0 1 1\n0 0 0.5 0.5", " violin \n\ntuba", [str(path)])
    assert [query.title for query in asked] == [
        *("region 1", "region 2", "violin", "tuba", "oboe")
    ]
    whole, quarter, violin, _, picture = (query.prompt for query in asked)
    assert read_number(whole) == 40
    height, width = whole.shape[:2]
    np.testing.assert_array_equal(quarter, whole[: height // 2, : width // 2])
    assert str(violin) == "a photo of violin" and picture == str(path)
    assert read_number(picture_at(video, 2.0, None)) == 79
    assert read_number(picture_at(video, -1, None)) == 0
    assert picture_at(video, 0).shape == (384, 960, 3)


def test_prompts_that_are_none(video, tmp_path):
    with pytest.raises(InputError, match="nothing to separate"):
        queries(video, 0.5, "", " \n", [])
    with pytest.raises(InputError, match="give a video"):
        queries("", 0.5, "0 0 1 1", "", [])
    sound = write_wav(tmp_path / "s.wav", tone(1, 8000), 8000)
    with pytest.raises(InputError, match="no video stream|cannot be"):
        queries(str(sound), 0.5, "0 0 1 1", "", [])


def test_tracks_and_the_rest(tmp_path):
    audio = tone(1.5, 8000, 300) / 2
    sound = write_wav(tmp_path / "s.wav", audio, 8000)
    given = {}

    def separate(mixture, prompts, fs):
        given.update(prompts=prompts, fs=fs)
        return np.stack([0.25 * mixture, 0.5 * mixture])

    asked = queries("", 0, "", "violin\ntuba", [])
    tracks = separate_recording(separate, str(sound), asked, tmp_path, 2)
    assert [track.title for track in tracks] == ["violin", "tuba", "the rest"]
    assert given["fs"] == 8000 and len(given["prompts"]) == 2
    for track, share in zip(tracks, (0.25, 0.5, 0.25), strict=True):
        samples, fs = soundfile.read(track.path, dtype="float32")
        assert fs == 8000
        np.testing.assert_allclose(samples, share * audio, atol=2**-15)
    with pytest.raises(InputError, match="--max_seconds"):
        separate_recording(separate, str(sound), asked, tmp_path, 1)
    with pytest.raises(InputError, match="no recording yet"):
        separate_recording(separate, "", asked, tmp_path, 1)


@pytest.mark.parametrize("states_length", [True, False])
def test_long_recordings_are_refused_before_they_are_decoded(
    tmp_path, monkeypatch, states_length
):
    """A small file may hold hours; no more than max_seconds of it is ever decoded."""
    decoded = []

    class Hours:
        fs, notes = 8000, ()
        length = 8000 * 3600 if states_length else None

        def __init__(self, path, audio_stream=None):
            pass

        def __iter__(self):
            for _ in range(3600):
                decoded.append(1)
                yield np.ones((1, 8000), np.float32)

    monkeypatch.setattr("espnet2_avsep.data.audio_io.AudioBlocks", Hours)
    asked = queries("", 0, "", "violin", [])
    with pytest.raises(InputError, match="more than 2 s of sound.*--max_seconds"):
        separate_recording(lambda *_: None, "x.flac", asked, tmp_path, 2)
    assert len(decoded) == (0 if states_length else 3)


def test_command_line(tmp_path, capsys, monkeypatch):
    assert main(["--model", str(tmp_path), "--port", "0"]) == 2
    assert "--port 0" in capsys.readouterr().err
    assert main(["--model", str(tmp_path), "--max_seconds", "0"]) == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--model", str(tmp_path)]) == 2
    assert "espnet2_avsep[demo]" in capsys.readouterr().err
