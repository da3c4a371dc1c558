import json

import numpy as np
import pytest

from espnet2_avsep.errors import InputError
from espnet2_avsep.media.container import ClipError
from espnet2_avsep.visual.boxes.box_files import Box, BoxFiles

CORNERS = (10.0, 20.0, 30.0, 60.0)


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, np.asarray(content, dtype=float))
    else:
        path.write_text(json.dumps(content))
    return path


def test_seven_numbers_a_row(tmp_path):
    rows = [[1, 5, 0.9, *CORNERS], [1, 2, 0.4, 0, 0, 5, 5], [3, 5, 0.5, *CORNERS]]
    write(tmp_path, "violin/a.mp4.npy", rows)
    boxes = BoxFiles(tmp_path, fps=2).load("violin-a")
    assert boxes.frames[1] == [Box(5, 0.9, CORNERS), Box(2, 0.4, (0, 0, 5, 5))]
    # Picture k, from 1, is on show from (k - 1) / 2 s on.
    first, third = boxes.frames[1], boxes.frames[3]
    found = [boxes.at(t) for t in (0.0, 0.4999, 0.5, 0.99, 1.0, 1.49, 1.5, 99.0)]
    assert found == [first, first, [], [], third, third, [], []]


def test_times_of_every_rate_find_their_picture(tmp_path):
    rows = [[k, 1, 0.5, *CORNERS] for k in range(1, 301)]
    write(tmp_path, "a/b.npy", rows)
    for fps in (1, 3, 7, 8, 25, 29.97):
        boxes = BoxFiles(tmp_path, fps=fps).load("a-b")
        for k in range(1, 301):
            assert boxes.at((k - 1) / fps) is boxes.frames[k]


def test_json_says_what_it_is(tmp_path):
    box = {"frame": 2, "label": "violin", "score": 0.7, "box": list(CORNERS)}
    content = {"boxes": [box], "fps": 4, "width": 640, "height": 360}
    write(tmp_path, "violin/a.json", content)
    boxes = BoxFiles(tmp_path, fps=1, size=(1, 1)).load("violin-a")
    assert boxes == ({2: [Box("violin", 0.7, CORNERS)]}, 4.0, (640, 360))
    write(tmp_path, "violin/b.json", {"boxes": []})
    assert BoxFiles(tmp_path, fps=3, size=(9, 8)).load("violin-b") == ({}, 3, (9, 8))


def test_clips_without_boxes(tmp_path):
    write(tmp_path, "a/zeros.npy", np.zeros((4, 7)))  # as iQuery writes it
    write(tmp_path, "a/empty.npy", [])
    files = BoxFiles(tmp_path)
    assert files.load("a-zeros").frames == files.load("a-empty").frames == {}
    assert files.load("a-none") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([[1, 1, 0.5, 0, 0, 5]], r"\(1, 6\), expected rows of 7 numbers"),
        ([1, 1, 0.5, 0, 0, 5, 5], r"\(7,\), expected rows of 7"),
        ([[0, 1, 0.5, 0, 0, 5, 5]], "picture 0.0, .*number from 1"),
        ([[1.5, 1, 0.5, 0, 0, 5, 5]], "picture 1.5"),
        ([[1, 1, 1.5, 0, 0, 5, 5]], "score 1.5"),
        ([[1, 1, 0.5, 5, 0, 5, 5]], "left < right"),
        ([[1, 1, 0.5, 0, 9, 5, 5]], "top < bottom"),
        ([[1, np.nan, 0.5, 0, 0, 5, 5]], "class nan"),
        ([[np.inf, 1, 0.5, 0, 0, 5, 5]], "picture inf"),
        ([[1, 1, np.nan, 0, 0, 5, 5]], "score nan"),
    ],
)
def test_wrong_rows(tmp_path, content, reason):
    write(tmp_path, "a/b.npy", content)
    with pytest.raises(ClipError, match=reason):
        BoxFiles(tmp_path).load("a-b")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"boxes": [{"frame": 1}]},
        {"boxes": [{"frame": 1, "label": [2], "score": 1, "box": [0, 0, 1, 1]}]},
        {"boxes": [], "width": 640},
        {"boxes": [], "fps": 0},
        [1, 2],
    ],
)
def test_wrong_json(tmp_path, content):
    write(tmp_path, "a/b.json", content)
    with pytest.raises(ClipError, match='unreadable boxes: .*expected {"boxes"'):
        BoxFiles(tmp_path).load("a-b")
    (tmp_path / "a" / "b.json").write_text("[" * 10**5)
    with pytest.raises(ClipError, match="unreadable boxes: .*nested too deeply"):
        BoxFiles(tmp_path).load("a-b")


def test_unreadable_files(tmp_path):
    np.save(tmp_path / "b.npy", np.array([{"a": 1}]), allow_pickle=True)
    (tmp_path / "c.json").write_text("{")
    for key in ("a-b", "a-c"):
        with pytest.raises(ClipError, match="unreadable boxes"):
            BoxFiles(tmp_path).load(key)
    with pytest.raises(InputError, match="--visual_boxes .*no such folder"):
        BoxFiles(tmp_path / "none")
