"""Files of a Mac or an editor (._name, .name) are not part of a corpus."""

import numpy as np
from PIL import Image

from espnet2_avsep.corpus.archives import find_archives
from espnet2_avsep.corpus.csv_tree import find_lists
from espnet2_avsep.corpus.splits import _files_of
from espnet2_avsep.corpus.tree import Tree, count_images

NOISE = b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(100)


def hide_beside(folder):
    """Write what the archive of a Mac holds beside each file."""
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(NOISE)


def test_archives_and_lists(tmp_path):
    for name in ("a.tar", "b.tar.gz", "train.csv", "val.csv", "test.txt"):
        (tmp_path / name).write_text("a/1.mp3,a/1.mp4,9\n")
    hide_beside(tmp_path)
    assert [p.name for p in find_archives(tmp_path)] == ["a.tar", "b.tar.gz"]
    assert sorted(find_lists(tmp_path)) == ["train", "val"]
    assert sorted(_files_of(tmp_path)) == ["test", "train", "val"]


def test_folders_of_images(tmp_path):
    frames = tmp_path / "flute" / "clip1"
    frames.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(frames / f"{number}.jpg")
    hide_beside(frames)
    assert count_images(frames) == 3
    assert list(Tree(tmp_path).frames) == [("flute", "clip1")]


def test_a_folder_with_nothing_but_hidden_images(tmp_path):
    frames = tmp_path / "flute" / "clip1"
    frames.mkdir(parents=True)
    (frames / "._1.jpg").write_bytes(NOISE)
    assert not Tree(tmp_path).frames
