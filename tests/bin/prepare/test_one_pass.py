"""Stage 2 may do stage 3's work; what it leaves must not tell."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from espnet2_avsep.bin import avsep_extract_visual, avsep_format_audio
from espnet2_avsep.data.audio import audio_format
from espnet2_avsep.data.tables.scp import read_scp, write_scp
from espnet2_avsep.visual import build
from tests.support.media_fixtures import (
    blank_out,
    paint_number,
    tone,
    truncate,
    write_clip,
    write_video,
    write_wav,
)
from tests.support.number_encoder import number_encoder

FS = 11625
# Clips whose sound stage 2 can take along.
TAPPED = {"good-mp4", "good-mkv", "good-webm", "good-stereo", "good-same-rate"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Videos and sounds, good and bad: (video.scp, wav.scp) as dicts."""
    folder = tmp_path_factory.mktemp("clips")
    stereo = np.stack([tone(2.0, 48000, 300.0), tone(2.0, 48000, 500.0, 0.9)])
    videos = {
        "good-mp4": write_clip(folder / "a.mp4", 2.0),
        "good-mkv": write_clip(folder / "a.mkv", 1.5),
        "good-webm": write_clip(
            *(folder / "a.webm", 1.0),
            codec="libvpx",
            audio_codec="libopus",
            rate=48000,
        ),
        "good-stereo": write_video(folder / "s.mp4", 50, audio=stereo, rate=48000),
        "good-same-rate": write_video(
            *(folder / "r.mkv", 50),
            audio=tone(2.0, FS),
            rate=FS,
            audio_codec="pcm_s16le",
        ),
        "bad-mute": write_video(folder / "mute.mp4"),
        "bad-cut": truncate(write_clip(folder / "cut.mkv", 3.0), 0.5),
        "bad-hole": blank_out(write_clip(folder / "hole.mp4", 3.0), 0.3, 0.4),
        "bad-missing": folder / "missing.mp4",
        "other-wav": write_clip(folder / "o.mp4", 1.0),
    }
    sounds = dict(videos)
    sounds["other-wav"] = write_wav(folder / "o.wav", tone(1.0, 16000), 16000)
    return {k: str(v) for k, v in videos.items()}, {
        k: str(v) for k, v in sounds.items()
    }


@pytest.fixture(autouse=True)
def numbers(monkeypatch):
    monkeypatch.setattr(
        build, "build_encoder", lambda **o: number_encoder(o["batch_size"])
    )


def arguments(folder, tables, *options):
    write_scp(folder / "video.scp", tables[0])
    write_scp(folder / "wav.scp", tables[1])
    return [
        *(
            "--video_scp",
            str(folder / "video.scp"),
            "--wav_scp",
            str(folder / "wav.scp"),
        ),
        *("--output_dir", str(folder / "visual"), "--device", "cpu", *options),
    ]


def extract(folder, tables, *options):
    return avsep_extract_visual.main(arguments(folder, tables, *options))


def format_audio(folder, kind):
    return avsep_format_audio.main(
        [
            *("--wav_scp", str(folder / "wav.scp"), "--fs", str(FS)),
            *("--output_dir", str(folder / "audio"), "--audio_format", kind),
        ]
    )


def one_pass(folder, kind="wav"):
    audio = ("--audio_dir", str(folder / "audio"), "--fs", str(FS))
    return (*audio, "--audio_format", kind)


def contents(folder):
    """All files but the journals, whose lines tell the order of the work."""
    return {
        str(p.relative_to(folder)): p.read_bytes().replace(bytes(folder), b"")
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".journal"
    }


@pytest.fixture(scope="module")
def apart(tables, tmp_path_factory):
    """The result of two passes, for each format."""
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            build, "build_encoder", lambda **o: number_encoder(o["batch_size"])
        )
        for kind in ("wav", "flac"):
            folder = tmp_path_factory.mktemp("apart")
            assert extract(folder, tables) == format_audio(folder, kind) == 0
            results[kind] = contents(folder)
    return results


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_the_result_is_byte_identical(tmp_path, tables, apart, kind, monkeypatch):
    assert extract(tmp_path, tables, *one_pass(tmp_path, kind)) == 0
    done = {p.stem for p in (tmp_path / "audio" / "data").iterdir()}
    assert done == TAPPED
    assert not (tmp_path / "audio" / "wav.scp").exists()

    read = []
    load = audio_format.load_audio
    monkeypatch.setattr(
        audio_format,
        "load_audio",
        lambda source, *more: read.append(source) or load(source, *more),
    )
    assert format_audio(tmp_path, kind) == 0
    assert {Path(path).name for path in read} == {
        *("mute.mp4", "cut.mkv", "hole.mp4", "missing.mp4", "o.wav")
    }
    assert contents(tmp_path) == apart[kind]
    assert set(read_scp(tmp_path / "audio" / "wav.scp")) == {*TAPPED, "other-wav"}


KILL = """
import os, signal, sys
sys.path.insert(0, {root!r})
from tests.support.number_encoder import number_encoder
from espnet2_avsep.bin.prepare.extract_visual import main
from espnet2_avsep.data.audio import audio_format
from espnet2_avsep.visual import build

build.build_encoder = lambda **o: number_encoder(o["batch_size"])
write, count = audio_format.write_audio, 0

def write_and_die(path, audio, fs):
    global count
    count += 1
    if count == 3:
        path.with_name("." + path.name + ".x.tmp").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, audio, fs)

audio_format.write_audio = write_and_die
main({arguments!r})
"""


def test_kill_9_and_again_ends_byte_identical(tmp_path, tables, apart):
    options = arguments(tmp_path, tables, *one_pass(tmp_path))
    root = str(Path(__file__).resolve().parents[3])
    code = KILL.format(root=root, arguments=options)
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "audio" / "data").glob("*.wav"))) == 2
    assert avsep_extract_visual.main(options) == 0
    assert format_audio(tmp_path, "wav") == 0
    assert contents(tmp_path) == apart["wav"]


def test_a_changed_video_is_read_again_for_both(tmp_path, tables):
    path = write_clip(tmp_path / "a.mp4", 1.0)
    table = ({"cello-a": str(path)},) * 2
    assert extract(tmp_path, table, *one_pass(tmp_path)) == 0
    assert format_audio(tmp_path, "wav") == 0
    first = contents(tmp_path / "audio")
    write_clip(path, 1.2, hertz=700.0, paint=lambda n: paint_number(n + 3))
    os.utime(path, ns=(1, 1))
    assert extract(tmp_path, table, *one_pass(tmp_path)) == 0
    assert not (tmp_path / "audio" / "wav.scp").exists()  # it would be half true
    assert format_audio(tmp_path, "wav") == 0
    assert contents(tmp_path / "audio")["data/cello-a.wav"] != first["data/cello-a.wav"]


def test_options_that_do_not_go_together(tmp_path, tables, capsys):
    audio = ("--audio_dir", str(tmp_path / "audio"))
    assert extract(tmp_path, tables, *audio) == 2
    assert "needs --fs" in capsys.readouterr().err
    assert extract(tmp_path, tables, *audio, "--fs", "1", "--precomputed", "x") == 2
    assert "--precomputed" in capsys.readouterr().err
