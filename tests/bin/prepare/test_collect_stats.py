import json

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet2_avsep.bin.prepare.collect_stats import main


@pytest.fixture
def tables(tmp_path):
    """Two clips: the option's value for the audio and for the visual table."""
    for key, num in (("a-1", 6000), ("b-2", 7000)):
        soundfile.write(tmp_path / f"{key}.wav", np.zeros(num), 8000)
    (tmp_path / "spk1.scp").write_text(
        f"a-1 {tmp_path}/a-1.wav\nb-2 {tmp_path}/b-2.wav\n"
    )
    base = tmp_path / "visual_spk1"
    with kaldiio.WriteHelper(f"ark,scp:{base}.ark,{base}.scp") as writer:
        writer["a-1"] = np.ones((2, 3), np.float32)
        writer["b-2"] = np.ones((5, 3), np.float32)
    return [
        f"{tmp_path}/spk1.scp,speech_ref1,sound",
        f"{base}.scp,visual_ref1,kaldi_ark",
    ]


def run(output_dir, *triples):
    options = [f"--data_path_and_name_and_type={triple}" for triple in triples]
    return main([*options, f"--output_dir={output_dir}"])


def test_shapes(tmp_path, tables):
    output = tmp_path / "stats" / "train"
    assert run(output, *tables) == 0
    found = {path.name: path.read_text() for path in output.iterdir()}
    record = json.loads(found.pop("made_from.json"))
    assert record["stage"] == 5
    assert {k: v["path"] for k, v in record["inputs"].items()} == {
        "speech_ref1": str(tmp_path / "spk1.scp"),
        "visual_ref1": str(tmp_path / "visual_spk1.scp"),
    }
    assert found == {
        "speech_ref1_shape": "a-1 6000\nb-2 7000\n",
        "visual_ref1_shape": "a-1 2,3\nb-2 5,3\n",
        "batch_keys": "speech_ref1\nvisual_ref1\n",
        "stats_keys": "\n",
    }


def test_only_headers_are_read(tmp_path, tables):
    """An ark and a flac file that are cut off behind their headers still do."""
    noise = np.random.default_rng(0).normal(0, 0.1, 6000)
    soundfile.write(tmp_path / "a-1.flac", noise, 8000)
    for name, size in (("a-1.flac", 200), ("visual_spk1.ark", 4 + 15)):
        with open(tmp_path / name, "r+b") as f:
            f.truncate(size)
    (tmp_path / "spk1.scp").write_text(f"a-1 {tmp_path}/a-1.flac\n")
    scp = tmp_path / "visual_spk1.scp"
    scp.write_text(scp.read_text().splitlines()[0] + "\n")
    assert run(tmp_path / "out", *tables) == 0
    assert (tmp_path / "out/speech_ref1_shape").read_text() == "a-1 6000\n"
    assert (tmp_path / "out/visual_ref1_shape").read_text() == "a-1 2,3\n"


def test_tables_that_disagree(tmp_path, tables, capsys):
    (tmp_path / "spk1.scp").write_text(f"a-1 {tmp_path}/a-1.wav\n")
    assert run(tmp_path / "out", *tables) == 2
    assert "spk1.scp lacks 1 of the keys" in capsys.readouterr().err


@pytest.mark.parametrize(
    "triple, message",
    [
        ("a.scp,speech_ref1", "expected PATH,NAME,TYPE"),
        ("a.scp,speech_ref1,video", "sound or kaldi_ark"),
        ("a.scp,../x,sound", "expected PATH,NAME,TYPE"),
        ("none.scp,speech_ref1,sound", "none.scp: no such file"),
    ],
)
def test_bad_triples(tmp_path, capsys, triple, message):
    assert run(tmp_path, triple) == 2
    assert message in capsys.readouterr().err


def test_a_name_given_twice(tmp_path, tables, capsys):
    assert run(tmp_path / "out", tables[0], tables[0]) == 2
    assert "speech_ref1 comes twice" in capsys.readouterr().err


def test_unreadable_files_are_named(tmp_path, tables, capsys):
    (tmp_path / "b-2.wav").write_bytes(b"")
    assert run(tmp_path / "out", *tables) == 2
    assert "b-2.wav: cannot be read" in capsys.readouterr().err
