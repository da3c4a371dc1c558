"""A whole corpus through a yt-dlp that fails, stalls, truncates and is blocked."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from espnet2_avsep.corpus.download import pool
from espnet2_avsep.corpus.download.corpus import download
from espnet2_avsep.corpus.download.pool import RequestPolicy
from espnet2_avsep.corpus.download.youtube import YoutubeFetcher
from espnet2_avsep.data.records.digest import file_sha256
from espnet2_avsep.errors import InputError
from espnet2_avsep.media.stream import probe
from tests.corpus.download.fake_yt_dlp import make
from tests.corpus.download.manifest_rows import read_manifest
from tests.support.media_fixtures import write_video
from tests.support.processes import is_running, wait_until

QUICK = RequestPolicy(timeout=60, retries=1, retry_wait=0.05, sleep_interval=0)
RATE = 44100


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The files that the site has for every video: 12 s, key frames 10 s apart."""
    folder = tmp_path_factory.mktemp("site")
    noise = np.random.default_rng(0).standard_normal(12 * RATE).astype("f") * 0.1
    front = {"container_options": {"movflags": "faststart"}}
    picture = {"frames": 300, "gop": 250, **front}
    return {
        "both": write_video(folder / "both.mp4", audio=noise, rate=RATE, **picture),
        "picture": write_video(folder / "picture.mp4", **picture),
        "sound": write_video(
            folder / "sound.m4a", frames=0, audio=noise, rate=RATE, **front
        ),
        "mute": write_video(folder / "mute.mp4", **picture),
    }


def name(number: int) -> str:
    return f"id_{number:08d}"


class Site:
    """A corpus whose videos come from the fake site."""

    def __init__(self, path, parts, monkeypatch, scripts, corpus="music21"):
        self.folder, self.log, self.corpus = path / "corpus", path / "log", corpus
        self.folder.mkdir(parents=True)
        ids = list(scripts)
        if corpus == "music21":
            lists = {"cello": ids[::2], "pipa": ids[1::2]}
            text = json.dumps({"videos": lists})
            (self.folder / "MUSIC21_solo_videos.json").write_text(text)
        else:
            rows = [f"{i},{n},dog barking,train\n" for n, i in enumerate(ids)]
            (self.folder / "vggsound.csv").write_text("".join(rows))
        module = make(self.log, parts, {k: v.split("+") for k, v in scripts.items()})
        monkeypatch.setitem(sys.modules, "yt_dlp", module)

    def run(self, nj=2, policy=QUICK, **options):
        options.setdefault("max_missing", 1.0)
        rows = download(
            self.corpus, self.folder, YoutubeFetcher(), nj, policy, **options
        )
        assert rows == read_manifest(self.folder / "manifest.tsv")
        return {row.id.rpartition("/")[2]: row for row in rows}

    def attempts(self, video_id):
        path = self.log / video_id
        return len(path.read_text().splitlines()) if path.exists() else 0

    def videos(self):
        return {
            str(path.relative_to(self.folder)): file_sha256(path)
            for path in sorted((self.folder / "videos").rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def site(tmp_path, parts, monkeypatch):
    def make_site(scripts, corpus="music21", where="one"):
        return Site(tmp_path / where, parts, monkeypatch, scripts, corpus)

    return make_site


# What the site does -> status, kind of the reason, number of attempts
CASES = {
    "ok": ("ok", "", 1),
    "removed": ("failed", "removed", 1),
    "terminated": ("failed", "removed", 1),
    "private": ("failed", "private", 1),
    "geo-blocked": ("failed", "geo-blocked", 1),
    "copyright": ("failed", "geo-blocked", 1),
    "age-restricted": ("failed", "age-restricted", 1),
    "bot check": ("failed", "bot check", 2),
    "rate limited+ok": ("ok", "", 2),
    "network+network": ("failed", "network", 2),
    "half+ok": ("ok", "", 2),
    "cut+cut": ("failed", "truncated", 2),
    "cut+ok": ("ok", "", 2),
    "die+ok": ("ok", "", 2),
    "mute": ("failed", "no audio", 1),
    "longer": ("failed", "truncated", 2),
}


def test_manifest_says_what_became_of_every_video(site):
    scripts = {name(n): script for n, script in enumerate(CASES)}
    a = site(scripts)
    rows = a.run(nj=4)
    found, expected = {}, {}
    for (video_id, script), (status, kind, attempts) in zip(
        scripts.items(), CASES.values(), strict=True
    ):
        row = rows[video_id]
        found[script] = (
            row.status,
            row.reason.split(": ")[0],
            a.attempts(video_id),
        )
        expected[script] = (status, kind, attempts)
        path = a.folder / "videos" / f"{row.id}.mp4"
        assert path.exists() == (status == "ok")
        if status == "ok":
            assert row.sha256 == file_sha256(path)
            assert int(row.bytes) == path.stat().st_size
            assert float(row.duration) == pytest.approx(12, abs=0.1)
            assert (row.fps, row.sample_rate) == ("25.0", "44100")
        else:
            assert row[3:] == ("",) * 5
    assert found == expected
    assert "24 s were stated" in rows[name(list(CASES).index("longer"))].reason
    # What came in half goes on, what was cut is fetched anew.
    resumed = (a.log / "resumed").read_text().splitlines()
    begins = [
        int(line.split()[1])
        for line in resumed
        if line.split()[0] == name(list(CASES).index("half+ok"))
    ]
    assert begins[0] == 0
    assert begins[1] > 1000
    left = [path for path in (a.folder / "partial").rglob("*") if path.is_file()]
    kinds = {rows[path.parent.name].reason.split(": ")[0] for path in left}
    assert kinds <= {"network", "bot check"}


def test_stalled_downloads_are_ended(site):
    """The stall comes after half a file; the next attempt goes on from there."""
    # A machine with other work may be too slow to get so far the first time.
    a = site({name(0): "stall", name(1): "stall+stall+ok", name(2): "ok"})
    rows = a.run(
        nj=3, policy=RequestPolicy(1.0, retries=3, retry_wait=0, sleep_interval=0)
    )
    assert rows[name(0)].reason == "stalled: nothing came for 1 s"
    assert a.attempts(name(0)) == 4
    assert (rows[name(1)].status, rows[name(2)].status) == ("ok", "ok")
    begins = [
        int(line.split()[1])
        for line in (a.log / "resumed").read_text().splitlines()
        if line.split()[0] == name(1)
    ]
    assert begins[0] == 0
    assert max(begins) > 1000


def test_parallel_is_serial_and_again_does_nothing(site):
    scripts = {name(n): s for n, s in enumerate(["ok", "removed", "half+ok", "mute"])}
    one, four = site(scripts, where="one"), None
    one.run(nj=1)
    four = site(scripts, where="four")
    four.run(nj=4)
    assert one.videos() == four.videos()
    assert len(one.videos()) == 2
    first = (one.folder / "manifest.tsv").read_bytes()
    assert first == (four.folder / "manifest.tsv").read_bytes()
    four.run(nj=4)
    assert (four.folder / "manifest.tsv").read_bytes() == first
    assert [four.attempts(name(n)) for n in range(4)] == [1, 1, 2, 1]
    # Asked for, what failed for good is tried again.
    four.run(nj=4, retry_failed=True)
    assert [four.attempts(name(n)) for n in range(4)] == [1, 2, 2, 2]
    # A file that has gone, or lost bytes, is fetched again.
    paths = sorted((four.folder / "videos").rglob("*.mp4"))
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:5000])
    four.run()
    assert (four.folder / "manifest.tsv").read_bytes() == first


def test_a_file_of_the_user_stays_until_it_can_be_replaced(site, parts):
    """A video that was found to be cut was deleted, and could not be fetched again."""
    a = site({name(0): "removed", name(1): "ok"})
    half = parts["both"].read_bytes()[: parts["both"].stat().st_size // 2]
    places = [
        a.folder / f"videos/{c}/{name(n)}.mp4" for n, c in enumerate(("cello", "pipa"))
    ]
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_bytes(half)
    rows = a.run()
    assert [rows[name(n)].status for n in range(2)] == ["failed", "ok"]
    assert rows[name(0)].reason.startswith("removed")
    assert places[0].read_bytes() == half
    assert probe(places[1]).audio_duration == pytest.approx(12, abs=0.05)


def test_sections_are_cut_out(site, parts):
    rows = (a := site({name(n): "ok" for n in range(5)}, "vggsound")).run()
    assert [row.status for row in rows.values()] == ["ok"] * 4 + ["failed"]
    assert rows["id_00000004_000004"].reason.startswith("section beyond the end: 8.0")
    info = probe(a.folder / "videos" / "id_00000001_000001.mp4")
    assert info.audio_duration == pytest.approx(10, abs=0.03)
    assert info.video_duration == pytest.approx(10, abs=0.05)


def test_a_killed_run_goes_on(site, tmp_path):
    """Killed with videos done, half done and not begun; then as if nothing was."""
    scripts = {name(n): "ok" for n in range(6)}
    whole = site(scripts, where="whole")
    whole.run()
    a = site({**scripts, name(2): "stall", name(3): "stall"}, where="killed")
    pid = os.fork()
    if not pid:
        try:
            a.run(nj=2, policy=RequestPolicy(timeout=60, sleep_interval=0))
        finally:
            os._exit(0)
    journal = a.folder / "download.journal"

    def three_videos_are_done():
        count = journal.read_text().count("\n") if journal.exists() else 0
        return count == 1 + 3 and a.attempts(name(3))  # the first line: the settings

    wait_until(three_videos_are_done)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: nobody_holds(journal))  # the workers end, too
    done = a.videos()
    assert len(done) == 3
    b = site(scripts, where="restarted")
    a.folder.rename(b.folder.with_name("moved"))
    for path in b.folder.iterdir():
        path.unlink()
    b.folder.rmdir()
    b.folder.with_name("moved").rename(b.folder)
    b.run(nj=3)
    assert b.videos() == whole.videos()
    assert (b.folder / "manifest.tsv").read_bytes() == (
        whole.folder / "manifest.tsv"
    ).read_bytes()
    assert not (b.folder / "partial").exists()
    assert sum(b.attempts(name(n)) for n in range(6)) == 6 - len(done)


def test_one_run_at_a_time(site):
    from espnet2_avsep.data.records.journal import Journal

    a = site({name(0): "ok"})
    with (
        Journal(a.folder / "download.journal", {"corpus": "music21"}),
        pytest.raises(InputError, match="another process"),
    ):
        a.run()


def test_too_many_missing(site):
    a = site({name(n): "removed" if n < 3 else "ok" for n in range(6)})
    assert a.run(max_missing=0.5)
    with pytest.raises(InputError, match="3 of 6 videos are missing.*--max_missing"):
        a.run(max_missing=0.49)
    assert len(read_manifest(a.folder / "manifest.tsv")) == 6


def test_categories_and_limit(site):
    a = site({name(n): "ok" for n in range(6)})
    rows = a.run(only=["pipa"], limit=2)
    assert [row.status for row in rows.values()] == ["pending"] * 3 + [
        *("ok", "ok", "pending")
    ]
    with pytest.raises(InputError, match="--only lute: no such category.*cello, pipa"):
        a.run(only=["lute"])


def test_a_site_that_blocks_ends_the_run(site):
    a = site({name(n): "bot check" for n in range(9)})
    policy = RequestPolicy(
        60, retries=0, retry_wait=0.01, sleep_interval=0, give_up_after=4
    )
    with pytest.raises(InputError, match="4 attempts in a row.*bot check.*--cookies"):
        a.run(nj=1, policy=policy)
    assert sum(a.attempts(name(n)) for n in range(9)) == 4
    statuses = [row.status for row in read_manifest(a.folder / "manifest.tsv")]
    assert sorted(statuses) == ["failed"] * 4 + ["pending"] * 5


def test_rate_limit_holds_everything_back(site, monkeypatch):
    """Once, for the time that was asked for."""
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    real_wait, idle = pool.wait, []

    def wait(connections, patience):
        if patience == 60:  # a worker has something to do
            return real_wait(connections, patience)
        idle.append((patience, [a.attempts(name(n)) for n in range(3)]))
        clock.now += patience
        return []

    monkeypatch.setattr(pool, "time", clock)
    monkeypatch.setattr(pool, "wait", wait)
    a = site({name(0): "rate limited+ok", name(1): "ok", name(2): "ok"})
    a.run(nj=1, policy=RequestPolicy(timeout=60, retry_wait=0.5, sleep_interval=0))
    assert idle == [(0.5, [1, 0, 0])]
    assert [a.attempts(name(n)) for n in range(3)] == [2, 1, 1]


def test_full_disk_ends_the_run(site):
    a = site({name(0): "disk full", name(1): "ok"})
    with pytest.raises(InputError, match="disk is full.*run the same command again"):
        a.run(nj=1)


def test_workers_end_with_their_parent(tmp_path):
    """Killed without notice, a run leaves no process that goes on fetching."""
    script = (
        "import time\n"
        "from espnet2_avsep.corpus.download.pool import RequestPolicy, run_jobs\n"
        "import os, pathlib\n"
        "def work(job, beat):\n"
        f"    (pathlib.Path({str(tmp_path)!r}) / str(os.getpid())).touch()\n"
        "    time.sleep(600)\n"
        "run_jobs([1, 2], work, 2, RequestPolicy(timeout=600), print)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    children = [int(path.name) for path in tmp_path.iterdir()]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(map(is_running, children)))


def test_workers_of_process_1_do_their_work(monkeypatch):
    """In a container avsep is process 1: it was taken for the end of the parent."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    found = []
    pool.run_jobs(
        [1, 2], lambda job, _: 10 * job, 2, QUICK, lambda *told: found.append(told)
    )
    assert sorted(found) == [(1, 10, None), (2, 20, None)]


def nobody_holds(path: Path) -> bool:
    with path.open() as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
