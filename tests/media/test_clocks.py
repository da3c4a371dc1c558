"""A click and a flash come out when they happen, whatever the container.

The pairs here cover every container and every kind of file; all of them are tried by
``python -m tests.benchmarks.check_clocks``.
"""

import av
import pytest

from tests.media.clock_check import wrong, wrong_in_tables
from tests.media.clock_files import CONTAINERS, KINDS, write_clocked

COVER = [
    ("mp4", "late picture"),
    ("mp4", "unknown duration"),
    ("mov", "late sound"),
    ("mkv", "late sound"),
    ("mkv", "one picture"),
    ("mkv 2", "hole"),
    ("webm", "unknown duration"),
    ("webm", "late picture"),
    ("ts", "clock from 10 s"),
    ("ts 2", "hole"),
    ("flv", "unknown duration"),
    ("flv 2", "variable rate"),
    ("avi", "one picture"),
    ("avi", "unknown duration"),
    ("avi 2", "variable rate"),
    ("mpg", "hole"),
    ("ogg", "plain"),
    ("wav", "unknown duration"),
    ("flac", "unknown duration"),
    ("mp3", "unknown duration"),
    ("m4a", "clock from 10 s"),
]


def test_the_pairs_cover_every_container_and_kind():
    assert {container for container, _ in COVER} == set(CONTAINERS)
    assert {kind for _, kind in COVER} == set(KINDS)


@pytest.mark.parametrize("container, kind", COVER)
def test_click_and_flash_to_one_picture(tmp_path, container, kind):
    av.logging.set_level(av.logging.FATAL)
    assert wrong(write_clocked(tmp_path, container, kind)) == []


def test_stages_2_to_4_keep_click_and_flash_together(tmp_path):
    av.logging.set_level(av.logging.FATAL)
    files = {}
    for container, kind in (
        *(("mkv", "late picture"), ("ts", "hole"), ("flv", "late sound")),
        *(("webm", "one picture"), ("avi 2", "variable rate"), ("ogg", "plain")),
    ):
        folder = tmp_path / container.replace(" ", "_")
        folder.mkdir()
        key = f"{container}-{kind}".replace(" ", "_")
        files[key] = write_clocked(folder, container, kind)
    assert wrong_in_tables(files, tmp_path) == {key: [] for key in files}
