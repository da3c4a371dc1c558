import json
import sys

import numpy as np
import pytest

from espnet2_avsep.bin.prepare.download import byte_count, main
from tests.corpus.download.fake_yt_dlp import make
from tests.support.media_fixtures import write_video

IDS = [f"id_{n:08d}" for n in range(3)]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A command line that works; its site has one video of three."""
    noise = np.random.default_rng(0).standard_normal(12 * 22050).astype("f") * 0.1
    both = write_video(tmp_path / "both.mp4", frames=60, fps=5, audio=noise)
    scripts = {IDS[1]: ["removed"], IDS[2]: ["geo-blocked"]}
    parts = dict.fromkeys(("both", "picture", "sound"), both)
    module = make(tmp_path / "log", parts, scripts)
    monkeypatch.setitem(sys.modules, "yt_dlp", module)
    (tmp_path / "given").mkdir()
    lists = json.dumps({"videos": {"cello": IDS[:2], "erhu": IDS[2:]}})
    (tmp_path / "given" / "MUSIC21_solo_videos.json").write_text(lists)
    return [
        *("--corpus", "music21", "--output_dir", str(tmp_path / "out")),
        *("--metadata_dir", str(tmp_path / "given"), "--sleep_interval", "0"),
        *("--max_height", "144"),
    ]


def test_summary(command, capsys, tmp_path):
    assert main([*command, "--max_missing", "0.7", "--nj", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 of 3 listed videos are there (0.00 GB, 0.00 h)")
    assert [line.split() for line in lines[1:]] == [
        ["1", "geo-blocked"],
        ["1", "removed"],
    ]
    assert (tmp_path / "out" / "videos" / "cello" / f"{IDS[0]}.mp4").is_file()
    assert (tmp_path / "out" / "MUSIC21_solo_videos.json").is_file()


def test_too_many_missing_is_an_error_after_the_manifest(command, capsys, tmp_path):
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "2 of 3 videos are missing, more than --max_missing 0.5 allows" in error
    assert len((tmp_path / "out" / "manifest.tsv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nj", "0"], "--nj 0"),
        (["--retries", "-1"], "--retries -1"),
        (["--limit", "0"], "--limit 0"),
        (["--timeout", "0"], "--timeout 0"),
        (["--sleep_interval", "-1"], "--sleep_interval -1"),
        (
            ["--max_missing", "40"],
            "--max_missing 40.0: expected at least 0 and at most 1",
        ),
        (["--cookies", "/no/cookies.txt"], "--cookies /no/cookies.txt: no such file"),
        (["--archive", "/no/ave.zip"], "--archive /no/ave.zip: no such file"),
        (["--only", "lute"], "--only lute: no such category"),
    ],
)
def test_bad_options(command, capsys, options, message):
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err


def test_without_yt_dlp(command, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    assert main(command) == 2
    assert "pip install 'yt-dlp[default]'" in capsys.readouterr().err


def test_rates():
    assert [byte_count(t) for t in ("500", "500K", "2m", "1.5G")] == [
        *(500, 500 * 1024, 2 * 1024**2, 1536 * 1024**2)
    ]
    with pytest.raises(SystemExit):
        main(["--rate_limit", "fast"])
