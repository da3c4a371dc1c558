"""File names of a corpus that tables, shells or FFmpeg could take for something else.

Through the commands of stages 1 to 3: each such file is used as it is, or left out and
counted with the reason, and nothing that only has a name is ever executed.
"""

import os
import shutil
import subprocess
import sys

import pytest

from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from tests.recipe.shell_checkout import ROOT
from tests.support.media_fixtures import write_clip

REFUSED = {
    "a;touch MARK;b/clip1.q|": "a_touch_MARK_b-clip1",
    "flute/run me.q|": "flute-run_me",
    "flute/x\nfree-line touch MARK |\n.mp4": "flute-x_free-line_touch_MARK",
    "flute/tab\there.mp4": "flute-tab_here",
    "flute/bell\x07.mp4": "flute-bell_",
    "flute/line\u2028end.mp4": "flute-line_end",
    "flute/blank.q ": "flute-blank",
    "flute/pipe|.mp4": "flute-pipe",  # as an id it would end with "|"
    os.fsdecode(b"flute/latin1-\xe9.mp4"): "flute-latin1-_",
}
USED = {
    "flute/12:30.mp4": "flute-12_30",
    "flute/a [1:2].mp4": "flute-a_1_2",
    "flute/|x.mp4": "flute-x",
    "flute/-rf.mp4": "flute--rf",
    "flute/$(touch MARK).mp4": "flute-touch_MARK",
    "flute/`touch MARK`;x.mp4": "flute-touch_MARK_x",
    'flute/it\'s "so".mp4': "flute-it_s_so",
    "flu\u0302te/u\u0308 NFD.mp4": "fl\u00fbte-\u00fc_NFD",
    "flute/" + "long" * 60 + ".mp4": "flute-" + "long" * 60,
    "drums & bass/a1.mp4": "drums_bass-a1",
}


@pytest.fixture
def corpus(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 0.5)
    for name in [*REFUSED, *USED, "flute/v.mp4", "flute/t.mp4"]:
        path = tmp_path / "corpus" / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, path)
    return tmp_path / "corpus"


def run(folder, *command):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def test_names_are_used_or_refused_and_never_executed(tmp_path, corpus):
    prepare = [str(ROOT / "local/prepare_music.py"), "--music_dir", "corpus"]
    status, said = run(tmp_path, *prepare, "--layout", "files", "--valid_ratio", "0.3")
    assert status == 0, said
    refused = {}
    for dset in ("train", "valid", "test"):
        data = tmp_path / "data" / dset
        rows = read_skipped(data / "skipped.tsv")
        refused.update({row.key: row.reason for row in rows})
        tool = [str(ROOT / "utils/data_dir.py"), "validate_data_dir.sh"]
        status, said = run(tmp_path, *tool, "--no-feats", "--no-text", str(data))
        assert status == 0, said
        for table in ("wav.scp", "video.scp"):
            with (tmp_path / table).open("a") as f:
                f.write((data / table).read_text())
    assert set(refused) == set(REFUSED.values())
    assert all(text.startswith("name of the file refused") for text in refused.values())
    for options in (
        ("extract_visual", "--video_scp", "video.scp", "--visual_encoder", "frames"),
        ("format_audio", "--fs", "8000"),
    ):
        status, said = run(
            tmp_path,
            *("-m", f"espnet2_avsep.bin.avsep_{options[0]}", *options[1:]),
            *("--wav_scp", "wav.scp", "--output_dir", "out"),
        )
        assert status == 0, said
    wavs = read_scp(tmp_path / "out" / "wav.scp")
    used = {*USED.values(), "flute-v", "flute-t"}
    assert set(wavs) == set(read_scp(tmp_path / "out" / "visual.scp")) == used
    assert all(os.path.isfile(tmp_path / path) for path in wavs.values())
    assert not list(tmp_path.rglob("MARK"))
