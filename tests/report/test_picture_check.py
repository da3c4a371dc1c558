import numpy as np
import pytest
from PIL import Image

from espnet2_avsep.report.picture_check import (
    Video,
    choose_clips,
    describe,
    look_at_videos,
    sample_pictures,
)
from tests.report.health_corpus import pictures_of, write_pictures
from tests.support.media_fixtures import read_number, write_clip


@pytest.mark.parametrize("kind", ["ok", "black", "one colour", "frozen"])
def test_verdicts(kind):
    look = describe(list(pictures_of(kind)))
    assert look.verdict == kind and look.count == 4


def test_measures_are_analytic():
    pictures = np.zeros((2, 20, 20, 3), np.uint8)
    pictures[0, :, 10:] = 100  # half black, half 100
    pictures[1] = pictures[0]
    pictures[1, 10:, :10] = 40  # one block of 10 x 10
    look = describe(list(pictures))
    assert (look.luma, look.spread, look.change) == (60.0, 50.0, 40.0)


def test_noise_of_a_codec_is_no_motion(tmp_path):
    still = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "still.mp4", 2, paint=lambda n: still)
    assert describe(sample_pictures(Video("a", "b", str(path)), 4)).verdict == "frozen"
    moving = write_clip(tmp_path / "moving.mp4", 2)
    assert describe(sample_pictures(Video("a", "b", str(moving)), 4)).verdict == "ok"


def test_pictures_are_those_in_the_middle_of_equal_parts(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 4)  # 100 numbered frames
    numbers = [
        read_number(image)
        for image in sample_pictures(Video("train", "a", str(path), 4.0), 4)
    ]
    assert numbers == [12, 37, 62, 87]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3, [0, 1, 2]), (4, [0, 1, 2, 3]), (7, [0, 2, 4, 6]), (80, [10, 30, 50, 70])],
)
def test_pictures_of_a_folder_are_spread_over_all_of_it(tmp_path, count, expected):
    """Of 7 images the first 4 were taken: what moved later counted as frozen."""
    values = np.arange(count)[:, None, None, None]
    folder = tmp_path / "folder"
    write_pictures(folder, np.broadcast_to(values, (count, 8, 8, 3)))
    found = sample_pictures(Video("train", "f", str(folder)), 4)
    assert [round(image.mean()) for image in found] == expected


def test_choice_covers_the_classes_and_does_not_move():
    category = {f"{c}-{n}": c for c in "abcdef" for n in range(20)}
    chosen = choose_clips(category, 13)
    assert len(chosen) == 13
    counts = {c: sum(category[k] == c for k in chosen) for c in "abcdef"}
    assert sorted(counts.values()) == [2, 2, 2, 2, 2, 3]
    backwards = dict(reversed(category.items()))
    assert choose_clips(backwards, 13) == chosen
    assert choose_clips(category, 1000) == sorted(category)
    assert choose_clips({}, 5) == []


def test_finished_looks_are_kept_and_stale_ones_go(tmp_path, monkeypatch):
    videos = []
    for kind in ("ok", "frozen"):
        write_pictures(tmp_path / kind, pictures_of(kind))
        videos.append(Video("train", kind, str(tmp_path / kind)))
    videos.append(Video("train", "none", str(tmp_path / "none.mp4")))
    out = tmp_path / "out"
    looks = look_at_videos(videos, out, 4)
    assert [look.verdict for look in looks.values()] == ["ok", "frozen", "unreadable"]
    with Image.open(out / "train" / "ok.jpg") as image:
        assert image.size[0] == 4 * image.size[1] * 160 // 90
    before = {p: p.read_bytes() for p in out.rglob("*.jpg")}

    # Killed while the second picture was written: only that one is made again.
    (out / "train" / "frozen.jpg").unlink()
    (out / "train" / ".frozen.jpg.x.tmp").write_bytes(b"half")
    seen = []
    monkeypatch.setattr(
        "espnet2_avsep.report.picture_check.sample_pictures",
        lambda video, n: seen.append(video.clip) or sample_pictures(video, n),
    )
    assert look_at_videos(videos, out, 4) == looks
    assert seen == ["frozen"]
    assert {p: p.read_bytes() for p in out.rglob("*.jpg")} == before
    assert not list(out.rglob("*.tmp"))

    look_at_videos(videos[:1], out, 4)
    assert [p.name for p in out.rglob("*.jpg")] == ["ok.jpg"]
