"""Videos out of archives that were fetched by other means."""

import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from espnet2_avsep.bin.prepare.download import main
from espnet2_avsep.corpus.download.archive import unpack
from espnet2_avsep.corpus.download.catalogue import Video
from espnet2_avsep.errors import InputError
from tests.corpus.download.manifest_rows import read_manifest
from tests.support.media_fixtures import truncate, write_video

IDS = [f"id_{n:08d}" for n in range(4)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    sound = np.zeros(10 * 22050, "f")
    front = {"movflags": "faststart"}
    return write_video(path, frames=50, fps=5, audio=sound, container_options=front)


def make_archive(folder, clip, kind):
    """Three clips, one cut, one that is not listed, a file of another kind."""
    tree = folder / "tree"
    (tree / "AVE").mkdir(parents=True)
    for name in (*IDS[:2], "not_listed_"):
        shutil.copy(clip, tree / "AVE" / f"{name}.mp4")
    truncate(clip, 0.7, tree / "AVE" / f"{IDS[2]}.mp4")
    (tree / "AVE" / f"{IDS[3]}.txt").write_text("no video")
    if kind == "folder":
        return tree
    path = folder / f"all.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as z:
            for file in sorted(tree.rglob("*.*")):
                z.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as t:
            t.add(tree, "tree")
    return path


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "folder"])
def test_ave_from_its_archive(tmp_path, clip, kind):
    archive = make_archive(tmp_path, clip, kind)
    given = tmp_path / "given"
    given.mkdir()
    rows = "".join(f"Bark&{i}&good&0&10\n" for i in IDS)
    (given / "Annotations.txt").write_text(rows)
    command = ["--corpus", "ave", "--output_dir", str(tmp_path / "out")]
    command += ["--metadata_dir", str(given), "--archive", str(archive)]
    for _ in range(2):
        assert main([*command, "--max_missing", "0.5"]) == 0
        rows = read_manifest(tmp_path / "out" / "manifest.tsv")
        assert [row.status for row in rows] == ["ok", "ok", "failed", "failed"]
        assert rows[2].reason.startswith("truncated")
        assert rows[3].reason == "not in the archive"
        files = sorted((tmp_path / "out" / "videos").iterdir())
        assert [path.stem for path in files] == sorted(IDS[:3])
        assert files[0].read_bytes() == clip.read_bytes()


def test_one_file_may_stand_for_two_videos(tmp_path, clip):
    archive = make_archive(tmp_path, clip, "tar.gz")
    videos = [Video(f"{c}/{IDS[0]}", IDS[0], (c,)) for c in ("cello", "erhu")]
    assert unpack([archive], videos, tmp_path / "out") == 1
    for category in ("cello", "erhu"):
        path = tmp_path / "out" / "videos" / category / f"{IDS[0]}.mp4"
        assert path.read_bytes() == clip.read_bytes()


def test_endings_in_capitals(tmp_path, clip):
    """ID.MP4 was passed over, and reported as not in the archive."""
    (tmp_path / "folder").mkdir()
    shutil.copy(clip, tmp_path / "folder" / f"{IDS[0]}.MP4")
    shutil.make_archive(tmp_path / "all", "zip", tmp_path / "folder")
    for number, archive in enumerate((tmp_path / "folder", tmp_path / "all.zip")):
        out = tmp_path / str(number)
        assert unpack([archive], [Video(IDS[0], IDS[0], ("Bark",))], out) == 1
        assert (out / "videos" / f"{IDS[0]}.mp4").read_bytes() == clip.read_bytes()


def test_broken_archive(tmp_path, clip):
    broken = truncate(make_archive(tmp_path, clip, "tar.gz"), 0.3)
    with pytest.raises(InputError, match="--archive .*cannot be read.*Fetch it again"):
        unpack([broken], [Video(IDS[0], IDS[0], ("Bark",))], tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.*"))
