import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from espnet2_avsep.bin.prepare.format_audio import main
from espnet2_avsep.data.tables.scp import read_scp, read_skipped
from tests.support.media_fixtures import (
    tone,
    truncate,
    write_clip,
    write_video,
    write_wav,
)

FS = 11625


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Sound in four kinds of files."""
    folder = tmp_path_factory.mktemp("clips")
    stereo = np.stack([tone(1.0, 16000, 500.0), np.zeros(16000, np.float32)])
    write_wav(folder / "b.wav", stereo, 16000, "PCM_24")
    soundfile.write(folder / "c.flac", tone(1.2, 48000), 48000)
    write_wav(folder / "d.wav", tone(0.8, FS), FS, "PCM_16")
    return {
        "tuba-a": str(write_clip(folder / "a.mp4", 1.5)),
        "tuba-b": str(folder / "b.wav"),
        "tuba-c": str(folder / "c.flac"),
        "tuba-d": f"cat {folder / 'd.wav'} |",
    }


def write_table(scp, table):
    scp.parent.mkdir(exist_ok=True)
    scp.write_text("".join(f"{key} {table[key]}\n" for key in sorted(table)))


def run(table, folder, *options):
    scp = folder / "wav.scp"
    write_table(scp, table)
    options = ("--allow_pipes", "true", *options)
    out = folder / "out"
    arguments = ["--wav_scp", str(scp), "--output_dir", str(out), "--fs", str(FS)]
    return main([*arguments, *options]), out


def contents(out):
    return {
        str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_everything_becomes_mono_16_bit_at_one_rate(tmp_path, clips, audio_format):
    status, out = run(clips, tmp_path, "--audio_format", audio_format)
    assert status == 0
    wavs = read_scp(out / "wav.scp")
    assert list(wavs) == list(clips)
    lengths = read_scp(out / "utt2num_samples")
    for key, seconds in zip(clips, (1.5, 1.0, 1.2, 0.8), strict=True):
        assert wavs[key] == str(out / "data" / f"{key}.{audio_format}")
        info = soundfile.info(wavs[key])
        assert (info.channels, info.samplerate, info.subtype) == (1, FS, "PCM_16")
        assert info.frames == int(lengths[key])
        assert info.frames / FS == pytest.approx(seconds, abs=0.05)
    assert read_skipped(out / "skipped.tsv") == []
    exact, _ = soundfile.read(wavs["tuba-d"], dtype="int16")
    source, _ = soundfile.read(clips["tuba-d"][4:-2], dtype="int16")
    np.testing.assert_array_equal(exact, source)
    half, _ = soundfile.read(wavs["tuba-b"])
    assert np.abs(half[500:-500]).max() == pytest.approx(0.25, rel=0.01)


def test_clipping_is_counted(tmp_path, caplog):
    caplog.set_level("INFO")
    path = write_wav(tmp_path / "a.wav", np.array([0.0, 1.5, -2.0, 0.25]), FS)
    status, out = run({"a": str(path)}, tmp_path)
    assert status == 0
    assert "2 samples clipped" in caplog.text
    samples, _ = soundfile.read(out / "data" / "a.wav", dtype="int16")
    assert samples.tolist() == [0, 32767, -32768, 8192]


@pytest.fixture
def bad_clips(tmp_path):
    folder = tmp_path / "bad"
    broken = tone(0.5, FS)
    broken[7] = np.nan
    (folder / "zero.wav").parent.mkdir()
    (folder / "zero.wav").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(b"\x07\x12" * 5000)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 9000)
    return {
        "bad-missing": str(folder / "missing.mp4"),
        "bad-zero": str(folder / "zero.wav"),
        "bad-noise": str(folder / "noise.mp4"),
        "bad-mute": str(write_video(folder / "mute.mp4")),
        "bad-nan": str(write_wav(folder / "nan.wav", broken, FS)),
        "bad-empty": str(write_wav(folder / "empty.wav", np.zeros(0), FS)),
        "bad-cut": str(truncate(write_wav(folder / "cut.wav", noise, FS), 0.6)),
        "bad-pipe": "false |",
    }


REASONS = {
    "bad-missing": "file not found",
    "bad-zero": "zero-length file",
    "bad-noise": "unreadable",
    "bad-mute": "no audio stream",
    "bad-nan": "1 samples are NaN or infinite",
    "bad-empty": "no audio samples",
    "bad-cut": "truncated",
    "bad-pipe": "pipe failed with exit status 1",
}


def test_bad_clips_are_left_out_with_the_reason(tmp_path, clips, bad_clips):
    status, out = run({**clips, **bad_clips}, tmp_path)
    assert status == 0
    assert list(read_scp(out / "wav.scp")) == list(clips)
    skipped = {row.key: row for row in read_skipped(out / "skipped.tsv")}
    assert set(skipped) == set(REASONS)
    for key, reason in REASONS.items():
        assert skipped[key].stage == "audio"
        assert skipped[key].reason.startswith(reason)


def test_only_bad_clips_are_an_error(tmp_path, bad_clips, capsys):
    status, out = run(bad_clips, tmp_path)
    assert status == 2
    assert "none of its 8 clips has sound" in capsys.readouterr().err
    assert not (out / "wav.scp").exists()
    assert len(read_skipped(out / "skipped.tsv")) == 8
    assert run(bad_clips, tmp_path, "--allow_empty", "true")[0] == 0
    assert (out / "wav.scp").read_text() == ""


def test_finished_clips_are_kept(tmp_path, clips):
    _, out = run(clips, tmp_path)
    before = contents(out)
    made = {p: p.stat().st_mtime_ns for p in (out / "data").iterdir()}
    assert run(clips, tmp_path)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in (out / "data").iterdir()} == made
    assert contents(out) == before


def test_changed_and_damaged_clips_are_made_again(tmp_path, clips):
    path = write_wav(tmp_path / "a.wav", tone(0.5, FS), FS)
    table = {**clips, "tuba-e": str(path)}
    _, out = run(table, tmp_path)
    before = contents(out)
    (out / "data" / "tuba-b.wav").unlink()
    truncate(out / "data" / "tuba-c.wav", 0.5)
    run(table, tmp_path)
    after = contents(out)
    del before["format_audio.journal"], after["format_audio.journal"]
    assert after == before
    write_wav(path, tone(0.75, FS), FS)
    run(table, tmp_path)
    assert read_scp(out / "utt2num_samples")["tuba-e"] == str(int(0.75 * FS + 0.5))


def test_another_rate_begins_anew(tmp_path, clips):
    _, out = run(clips, tmp_path)
    assert run(clips, tmp_path, "--fs", "8000")[0] == 0
    for path in read_scp(out / "wav.scp").values():
        assert soundfile.info(path).samplerate == 8000


def test_splitting_leaves_no_trace(tmp_path, clips):
    _, whole = run(clips, tmp_path / "whole")
    for key, source in clips.items():
        _, out = run({key: source}, tmp_path / key)
        name = f"data/{key}.wav"
        assert (out / name).read_bytes() == (whole / name).read_bytes()


KILL = """
import os, signal
from espnet2_avsep.bin.prepare.format_audio import main
from espnet2_avsep.data.tables import scp

fsync, count = os.fsync, 0

def fsync_and_die(handle):
    global count
    if os.readlink(f"/proc/self/fd/{{handle}}").endswith(".tmp"):
        count += 1
    if count == 3:
        os.ftruncate(handle, 100)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)

os.fsync = fsync_and_die
main({arguments!r})
"""


def test_kill_9_and_again_ends_byte_identical(tmp_path, clips):
    _, out = run(clips, tmp_path)
    expected = contents(out)
    for path in [*(out / "data").iterdir(), *out.glob("*.*"), out / "utt2num_samples"]:
        path.unlink()
    arguments = ["--wav_scp", str(tmp_path / "wav.scp"), "--output_dir", str(out)]
    arguments += ["--fs", str(FS), "--allow_pipes", "true"]
    code = KILL.format(arguments=arguments)
    result = subprocess.run([sys.executable, "-c", code], check=False)
    assert result.returncode == -signal.SIGKILL
    assert not (out / "wav.scp").exists()
    left = sorted(p.name for p in (out / "data").iterdir())
    assert len(left) == 3  # two whole ones and a half-written one
    assert left[0].startswith(".tuba-c.wav.")
    assert run(clips, tmp_path)[0] == 0
    assert contents(out) == expected


def test_full_disk(tmp_path, clips, monkeypatch, capsys):
    _, out = run(clips, tmp_path)
    expected = contents(out)
    for path in [*(out / "data").iterdir(), *out.glob("*.*"), out / "utt2num_samples"]:
        path.unlink()
    fsync, count = os.fsync, []

    def fill_up(handle):
        count.append(1)
        if len(count) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_up)
        status, _ = run(clips, tmp_path)
    assert status == 2
    assert "no space left on device. Free some space" in capsys.readouterr().err
    assert not (out / "wav.scp").exists()
    assert not list(out.rglob("*.tmp"))
    assert run(clips, tmp_path)[0] == 0
    assert contents(out) == expected


def test_unusable_keys_and_options(tmp_path, clips, capsys):
    assert run({"a/b": "x"}, tmp_path)[0] == 2
    assert "the id 'a/b' has a '/'" in capsys.readouterr().err
    assert run(clips, tmp_path, "--fs", "0")[0] == 2
    assert "--fs 0: expected at least 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--wav_scp", "a", "--output_dir", "b", "--fs", "1", "--nonsense", "2"])


def test_commands_are_refused_unless_they_are_allowed(tmp_path, clips, capsys):
    write_table(tmp_path / "wav.scp", {**clips, "tuba-e": f"touch {tmp_path}/MARK |"})
    arguments = ["--wav_scp", str(tmp_path / "wav.scp"), "--fs", str(FS)]
    assert main([*arguments, "--output_dir", str(tmp_path / "out")]) == 2
    assert "wav.scp, tuba-d" in (said := capsys.readouterr().err)
    assert "--allow_pipes true" in said
    assert not (tmp_path / "MARK").exists() and not (tmp_path / "out").exists()


def test_long_ids_stay_whole_in_tables_and_their_files_are_short(tmp_path, clips):
    table = {"x" * 247: clips["tuba-b"], "x" * 300: clips["tuba-b"]}
    status, out = run(table, tmp_path)
    assert status == 0
    files = read_scp(out / "wav.scp")
    assert set(files) == set(table) == set(read_scp(out / "utt2num_samples"))
    assert len({os.path.basename(file) for file in files.values()}) == 2
    assert all(soundfile.info(file).frames == FS for file in files.values())


def test_table_with_a_byte_order_mark(tmp_path, clips):
    """Some editors write it; it was part of the first key and of its file's name."""
    table = tmp_path / "wav.scp"
    text = f"\ufefftuba-a {clips['tuba-a']}\r\ntuba-b {clips['tuba-b']}\r\n"
    table.write_bytes(text.encode())
    out = tmp_path / "out"
    assert (
        main(["--wav_scp", str(table), "--output_dir", str(out), "--fs", "8000"]) == 0
    )
    assert list(read_scp(out / "wav.scp")) == ["tuba-a", "tuba-b"]
    assert sorted(path.name for path in (out / "data").iterdir()) == [
        "tuba-a.wav",
        "tuba-b.wav",
    ]
