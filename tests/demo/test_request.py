from pathlib import Path

import numpy as np
import pytest

from espnet2_avsep.bin.separate.demo import main
from espnet2_avsep.demo.request import (
    Request,
    command_words,
    outline,
    picture_at,
    read_boxes,
    without_folders,
    write_box,
)
from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.query import parse_queries
from tests.support.media_fixtures import read_number, tone, write_video, write_wav


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


def test_regions_are_drawn_onto_a_copy():
    picture = np.zeros((40, 80, 3), np.uint8)
    drawn = outline(picture, [(0.5, 0.25, 1.0, 0.75)])
    assert not picture.any()
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 40, 79)


def test_a_region_of_less_than_a_pixel_is_drawn():
    """Two clicks beside each other ended in an error of the drawing library."""
    line = write_box((48, 10), (49, 30), 96, 54)
    picture = np.zeros((54, 40, 3), np.uint8)
    drawn = outline(picture, read_boxes(line))
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert {10, 29} <= set(rows.tolist())
    assert 20 in columns


def test_queries_are_shown_without_folders():
    """Of "text:AC/DC" only "DC" was shown, of two uploads only the second."""
    assert without_folders("text:AC/DC+x") == "text:AC/DC+x"
    assert without_folders("/tmp/g/1/a b.jpg+/tmp/g/2/c.npy") == "a b.jpg+c.npy"
    assert without_folders("box:0,0,0.5,1@0-2") == "box:0,0,0.5,1@0-2"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Ten seconds, whose pictures show their numbers; 8 a second."""
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    write_video(path, 80, fps=8)
    return str(path)


def test_a_request_is_a_command(video):
    request = Request(video, halves=True, boxes="0 0 1 1\n0.5, 0, 1, 0.25")
    words = command_words(request._replace(names=" violin \n\nx.jpg", files=["a.png"]))
    assert words == [
        *(video, "--sources", "left-right", "--query", "box:0,0,1,1"),
        *("--query", "box:0.5,0,1,0.25", "--query", "text:violin"),
        *("--query", "text:x.jpg", "--query", "a.png"),
    ]
    words = command_words(
        Request(video, boxes="\n0 0 1 1 @ 3-5,8-\n", files=["a", "b"])
    )
    assert words[1:] == [
        *("--query", "box:0,0,1,1@3-5,8-", "--query", "a", "--query", "b")
    ]
    words = command_words(Request(video, files=["a.png", "b.npy"], one=True))
    assert words[1:] == ["--query", "a.png+b.npy"]
    # The picture at a quarter of ten seconds.
    words = command_words(Request(video, share=0.25, boxes="0 0 1 1", moment=True))
    assert words[1:] == ["--query", "box:0,0,1,1,seen=2.500"]
    query = parse_queries(words[2:], Path(video))[0]
    assert (query.prompt.every, query.prompt.at) == (None, 2.5)


def test_pictures_of_a_video(video):
    assert read_number(picture_at(video, 0.5, None)) == 40
    assert read_number(picture_at(video, 2.0, None)) == 79
    assert read_number(picture_at(video, -1, None)) == 0
    assert picture_at(video, 0).shape == (384, 960, 3)


def test_requests_that_cannot_be_met(video, tmp_path):
    sound = str(write_wav(tmp_path / "s.wav", tone(1, 8000), 8000))
    for request, message in (
        (Request(names="violin"), "no recording yet"),
        (Request(video, sound, names="violin"), "remove one of them"),
        (Request(sound=sound), "nothing to separate"),
        (Request(video, names=" \n"), "nothing to separate"),
        (Request(sound=sound, boxes="0 0 1 1"), "give a video"),
        (Request(sound=sound, halves=True), "give a video"),
    ):
        with pytest.raises(InputError, match=message):
            command_words(request)
    with pytest.raises(InputError, match="no video stream|cannot be"):
        command_words(Request(sound, boxes="0 0 1 1", moment=True))


def test_command_line(tmp_path, capsys, monkeypatch):
    assert main(["--model", str(tmp_path), "--port", "0"]) == 2
    assert "--port 0" in capsys.readouterr().err
    assert main(["--model", str(tmp_path), "--max_seconds", "0"]) == 2
    assert main(["--model", str(tmp_path), "--device", "gpu"]) == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--model", str(tmp_path)]) == 2
    assert "espnet2_avsep[demo]" in capsys.readouterr().err
