import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from espnet2_avsep.bin.prepare.extract_teacher import main
from espnet2_avsep.data.records.made_from import TEACHER, VERSIONS
from espnet2_avsep.data.tables.scp import read_scp, write_scp
from espnet2_avsep.errors import InputError
from espnet2_avsep.teacher import clap_teacher, extract
from espnet2_avsep.teacher.clap_teacher import ClapTeacher
from espnet2_avsep.teacher.precomputed import PrecomputedTeacher

TINY = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


class TinyTeacher(ClapTeacher):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, htsat_conf=TINY, **kwargs)


@pytest.fixture
def arguments(tmp_path, monkeypatch) -> list:
    """Five recordings of differing lengths and rates; a network of toy size."""
    monkeypatch.setattr(clap_teacher, "ClapTeacher", TinyTeacher)
    rng = np.random.default_rng(0)
    table = {}
    for i, (fs, length) in enumerate(
        [(11625, 65280), (48000, 3000), (16000, 9), (11625, 20000), (48000, 500000)]
    ):
        path = tmp_path / f"m{i}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(length), fs, "FLOAT")
        table[f"m{i}"] = path
    write_scp(tmp_path / "wav.scp", table)
    out = tmp_path / "out"
    options = {"wav_scp": tmp_path / "wav.scp", "output_dir": out, "batch_size": 2}
    given = [
        part for key, value in options.items() for part in (f"--{key}", str(value))
    ]
    return [*given, "--checkpoint", "random", "--device", "cpu"]


def test_embeddings_are_those_of_the_teacher(arguments, tmp_path):
    assert main(arguments) == 0
    scp = tmp_path / "out" / "teacher.scp"
    found = PrecomputedTeacher(scp)
    table = read_scp(tmp_path / "wav.scp")
    assert list(read_scp(scp)) == list(table)
    teacher = TinyTeacher("random")
    for key, path in table.items():
        wav, fs = soundfile.read(path, dtype="float32")
        expected = teacher(torch.from_numpy(wav)[None], fs)
        torch.testing.assert_close(found.lookup([key]), expected, atol=1e-5, rtol=0)
    info = (tmp_path / "out" / "teacher_info.yaml").read_text()
    assert "teacher: HTSAT-tiny, random, seed 0\n" in info
    assert "dim: 512\n" in info


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.5, 1.0])
def test_cut_off_run_goes_on_and_ends_alike(arguments, tmp_path, monkeypatch, kept):
    assert main(arguments) == 0
    out = tmp_path / "out"
    ark, scp = out / "teacher.ark", out / "teacher.scp"
    expected = ark.read_bytes(), scp.read_bytes()
    scp.unlink()
    ark.write_bytes(expected[0][: int(kept * len(expected[0]))])
    batches = []
    embed = extract._embed

    def count(teacher, batch, device):
        batches.append(list(batch))
        return embed(teacher, batch, device)

    monkeypatch.setattr(extract, "_embed", count)
    assert main(arguments) == 0
    assert (ark.read_bytes(), scp.read_bytes()) == expected
    assert len(batches) == {0.0: 3, 0.3: 3, 0.5: 2, 1.0: 0}[kept]
    batches.clear()
    assert main(arguments) == 0
    assert batches == []


def test_a_store_that_was_cut_off_later_is_completed(arguments, tmp_path):
    """It was taken for finished, while its reader said to run the command again."""
    assert main(arguments) == 0
    ark = tmp_path / "out" / "teacher.ark"
    expected = ark.read_bytes()
    ark.write_bytes(expected[:-100])
    assert main(arguments) == 0
    assert ark.read_bytes() == expected
    PrecomputedTeacher(tmp_path / "out" / "teacher.scp").lookup(["m4"])


def test_other_options_start_anew(arguments, tmp_path):
    assert main(arguments) == 0
    ark = tmp_path / "out" / "teacher.ark"
    before = ark.read_bytes()
    assert main([*arguments, "--seed", "1"]) == 0
    assert len(ark.read_bytes()) == len(before)
    assert ark.read_bytes() != before


def test_embeddings_of_an_earlier_version_are_not_taken_as_current(
    arguments, tmp_path, monkeypatch
):
    assert main(arguments) == 0
    out = tmp_path / "out"
    before = (out / "teacher_info.yaml").read_text()
    monkeypatch.setitem(VERSIONS, TEACHER, 2)
    with pytest.raises(InputError, match="version 1 of avsep_extract_teacher, which"):
        PrecomputedTeacher(out / "teacher.scp")
    # Stores that were written before there were records are of version 1.
    record = out / "teacher.scp.made_from.json"
    record.unlink()
    with pytest.raises(InputError, match="version 1 of avsep_extract_teacher, which"):
        PrecomputedTeacher(out / "teacher.scp")
    (out / "teacher.ark").write_bytes(b"of the version before")
    assert main(arguments) == 0
    assert PrecomputedTeacher(out / "teacher.scp").output_dim == 512
    assert (out / "teacher_info.yaml").read_text() == f"{before}version: 2\n"
    monkeypatch.setitem(VERSIONS, TEACHER, 1)
    assert main(arguments) == 0
    assert (out / "teacher_info.yaml").read_text() == before
    record.unlink()
    assert PrecomputedTeacher(out / "teacher.scp").output_dim == 512


def test_embeddings_of_other_sound_are_not_taken_as_current(arguments, tmp_path):
    assert main(arguments) == 0
    soundfile.write(tmp_path / "m2.wav", np.full(9, 0.1), 16000, "FLOAT")
    with pytest.raises(InputError, match="sound.*Run avsep_extract_teacher again"):
        PrecomputedTeacher(tmp_path / "out" / "teacher.scp")
    assert main(arguments) == 0
    PrecomputedTeacher(tmp_path / "out" / "teacher.scp")


def test_bad_recordings_are_named_before_any_work(arguments, tmp_path, capsys):
    table = read_scp(tmp_path / "wav.scp")
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 11625)
    table.update(
        {
            "x1": str(tmp_path / "none.wav"),
            "x2": str(tmp_path / "text.wav"),
            "x3": str(tmp_path / "empty.wav"),
        }
    )
    write_scp(tmp_path / "wav.scp", table)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert "3 of 8 recordings cannot be read" in message
    for name in ("none.wav", "text.wav", "empty.wav"):
        assert name in message
    assert not (tmp_path / "out").exists()


def test_nan_samples_are_named(arguments, tmp_path, capsys):
    soundfile.write(tmp_path / "m3.wav", np.full(1000, np.nan), 11625, "FLOAT")
    assert main(arguments) == 2
    assert "m3" in capsys.readouterr().err
    assert not (tmp_path / "out" / "teacher.scp").exists()


def test_two_at_a_time_do_not_write_into_one_ark(arguments, tmp_path, capsys):
    """Both appended to the ark: recordings got the embeddings of others."""
    hold = (
        "import sys\nfrom espnet2_avsep.data.records.lock import lock_folder\n"
        "with lock_folder(sys.argv[1], 'another run'):\n"
        "    print('held', flush=True)\n    sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "out")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        assert main(arguments) == 2
        other.stdin.close()
    assert f"is in use by another run, pid {other.pid}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "teacher.ark").exists()
    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--batch_size", "0"], "--batch_size 0"),
        (["--device", "teapot"], "--device 'teapot'"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
        (["--wav_scp", "none.scp"], "none.scp"),
        (["--dtype", "int8"], "int8"),
    ],
)
def test_bad_options_are_named(arguments, capsys, extra, message):
    assert main([*arguments, *extra]) == 2
    assert message in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys, espnet2_avsep.bin.avsep_extract_teacher as m; m.main.get_parser();"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "False"]
