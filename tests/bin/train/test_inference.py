import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from espnet2_avsep.bin.train.inference import main
from espnet2_avsep.data.tables.scp import read_scp
from espnet2_avsep.inference.listed_mixtures import mixture_dataset
from espnet2_avsep.inference.separate import SeparateAV
from tests.support.tiny_corpus import FS, SEGMENT, embedding, make_tiny_corpus
from tests.support.trained_model import make_trained_folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_trained_folder(tmp_path_factory.mktemp("exp"))


def command(corpus, folder, output_dir, *more):
    argv = ["--train_config", str(folder / "config.yaml")]
    argv += ["--model_file", str(folder / "valid.si_sdr_i.best.pth")]
    argv += ["--output_dir", str(output_dir)]
    for path, name in [
        ("wav.scp", "speech_mix"),
        ("visual_spk1.scp", "visual_ref1"),
        ("visual_spk2.scp", "visual_ref2"),
    ]:
        path = corpus / "valid" / path
        argv += ["--data_path_and_name_and_type", f"{path},{name},any"]
    return [*argv, *more]


def tracks(output_dir):
    return {
        (n, key): soundfile.read(path, dtype="float32")[0]
        for n in (1, 2)
        for key, path in read_scp(output_dir / f"spk{n}.scp").items()
    }


@pytest.mark.parametrize("batch_size", [1, 3])
def test_tracks_are_those_of_the_python_object(corpus, folder, tmp_path, batch_size):
    options = ("--batch_size", str(batch_size), "--fs", str(FS))
    assert main(command(corpus, folder, tmp_path, *options)) == 0
    result = tracks(tmp_path)
    assert len(result) == 8
    separate = SeparateAV.from_pretrained(folder)
    mixture, _ = soundfile.read(
        read_scp(corpus / "valid" / "wav.scp")["mix00000"], dtype="float32"
    )
    expected = separate(mixture, [embedding("low")[0], embedding("high")[0]])
    for n in (1, 2):
        assert len(result[n, "mix00000"]) == SEGMENT
        np.testing.assert_allclose(result[n, "mix00000"], expected[n - 1], atol=1e-5)


HOLD = """
import sys
from espnet2_avsep.data.records.lock import lock_folder
with lock_folder(sys.argv[1], "a separation"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_separations_into_one_folder(corpus, folder, tmp_path, capsys):
    """With other options, each would put its tracks among those of the other."""
    argv = command(corpus, folder, tmp_path)
    assert main(argv) == 0
    before = tracks(tmp_path)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], **pipes)
    assert process.stdout.readline() == "held\n"
    assert main([*argv, "--binary_mask", "true"]) == 2
    assert f"in use by a separation, pid {process.pid}" in capsys.readouterr().err
    process.communicate()
    after = tracks(tmp_path)
    assert all(np.array_equal(after[key], track) for key, track in before.items())


def test_one_source(corpus, folder, tmp_path):
    """A single prompt gives one track, that which it gives among two."""
    assert main(command(corpus, folder, tmp_path / "two")) == 0
    argv = command(corpus, folder, tmp_path / "one")
    assert main(argv[:-2]) == 0
    assert not (tmp_path / "one" / "spk2.scp").exists()
    table = read_scp(tmp_path / "one" / "spk1.scp")
    assert len(table) == 4
    for key, path in table.items():
        alone, _ = soundfile.read(path, dtype="float32")
        expected = tracks(tmp_path / "two")[1, key]
        np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_second_run_keeps_finished_tracks(corpus, folder, tmp_path):
    assert main(command(corpus, folder, tmp_path)) == 0
    first = tracks(tmp_path)
    kept = tmp_path / "wavs" / "spk1" / "mix00001.wav"
    lost = tmp_path / "wavs" / "spk2" / "mix00002.wav"
    time = kept.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / "spk1.scp").unlink()
    assert main(command(corpus, folder, tmp_path)) == 0
    assert kept.stat().st_mtime_ns == time
    for key, track in tracks(tmp_path).items():
        np.testing.assert_array_equal(track, first[key])


def test_another_model_makes_all_tracks_again(corpus, folder, tmp_path):
    out = tmp_path / "out"
    assert main(command(corpus, folder, out)) == 0
    first = tracks(out)
    other = make_trained_folder(tmp_path / "other")
    weights = torch.load(other / "valid.si_sdr_i.best.pth", weights_only=True)
    weights["separator.late_bias"] += 1
    torch.save(weights, other / "valid.si_sdr_i.best.pth")
    assert main(command(corpus, other, out)) == 0
    second = tracks(out)
    assert all(np.abs(second[key] - first[key]).max() > 1e-3 for key in first)


def test_key_file(corpus, folder, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("mix00002 x\n")
    out = tmp_path / "out"
    assert main(command(corpus, folder, out, "--key_file", str(keys))) == 0
    assert list(read_scp(out / "spk1.scp")) == ["mix00002"]
    keys.write_text("mix9 x\n")
    assert main(command(corpus, folder, out, "--key_file", str(keys))) == 2


def test_shuffled_visual_inputs(corpus, folder, tmp_path):
    pairs = [("low", "high"), ("mid", "top"), ("top", "low"), ("high", "mid")]
    lines = ["mix_id\tclip1\tspk1\tclip2\tspk2"]
    lines += [f"mix{i:05d}\t{a}\t{a}\t{b}\t{b}" for i, (a, b) in enumerate(pairs)]
    mixtures = tmp_path / "mixtures.tsv"
    mixtures.write_text("\n".join(lines) + "\n")
    options = ("--shuffle_visual", "class", "--mixtures", str(mixtures))
    assert main(command(corpus, folder, tmp_path / "a")) == 0
    assert main(command(corpus, folder, tmp_path / "a", *options)) == 0
    first = tracks(tmp_path / "a")
    # Split over jobs, every mixture gets the same pictures as before.
    keys = tmp_path / "keys"
    keys.write_text("mix00002 x\n")
    options += ("--key_file", str(keys))
    assert main(command(corpus, folder, tmp_path / "b", *options)) == 0
    for key, track in tracks(tmp_path / "b").items():
        np.testing.assert_allclose(track, first[key], atol=1e-6)
    separate = SeparateAV.from_pretrained(folder)
    path = read_scp(corpus / "valid" / "wav.scp")["mix00002"]
    mixture, _ = soundfile.read(path, dtype="float32")
    right = separate(mixture, [embedding("top")[0], embedding("low")[0]])
    wrong = [separate(mixture, [embedding(n)[0]])[0] for n in ("mid", "high")]
    assert np.abs(first[1, "mix00002"] - right[0]).max() > 1e-3
    assert min(np.abs(first[1, "mix00002"] - w).max() for w in wrong) < 1e-5


def test_disk_full(corpus, folder, tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(command(corpus, folder, tmp_path)) == 2
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.glob("wavs/*/*")) and not (tmp_path / "spk1.scp").exists()


def test_tables_that_disagree(corpus, folder, tmp_path, capsys):
    short = tmp_path / "short.scp"
    short.write_text(
        "".join((corpus / "valid/visual_spk2.scp").read_text().splitlines(True)[1:])
    )
    argv = command(corpus, folder, tmp_path / "out")
    argv[-1] = f"{short},visual_ref2,any"
    assert main(argv) == 2
    assert "mix00000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("visual_ref1", "the name visual_ref1 comes twice"),
        ("visual_ref3", "visual_ref2 is missing, but there is visual_ref3"),
    ],
)
def test_wrong_numbers_of_sources(corpus, folder, tmp_path, capsys, name, message):
    """One source was separated instead of two, or there was a traceback."""
    argv = command(corpus, folder, tmp_path / "out")
    argv[-1] = argv[-1].replace("visual_ref2", name)
    assert main(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fs", "16000"], "trained at 2000"),
        (["--ngpu", "2"], "ngpu"),
        (["--batch_size", "0"], "batch_size"),
    ],
)
def test_bad_options(corpus, folder, tmp_path, capsys, options, message):
    assert main(command(corpus, folder, tmp_path / "out", *options)) == 2
    assert message in capsys.readouterr().err


def test_shuffled_pictures_come_with_their_classes(corpus, tmp_path):
    """For models that are told the classes: else they would be told the right ones."""
    lists = corpus / "valid"
    names = ("speech_mix", "visual_ref1", "visual_ref2")
    files = ("wav.scp", "visual_spk1.scp", "visual_spk2.scp")
    tables = {n: read_scp(lists / f) for n, f in zip(names, files, strict=True)}
    key = next(iter(tables["speech_mix"]))
    table = tmp_path / "mixtures.tsv"
    table.write_text(
        "mix_id\tclip1\tspk1\tstart1\tframe1\tclip2\tspk2\tstart2\tframe2\n"
        f"{key}\ta\tflute\t0\t0\tb\ttuba\t0\t0\n"
    )
    separate = SimpleNamespace(
        model=SimpleNamespace(
            separator=SimpleNamespace(needs_motion=False, needs_labels=True)
        ),
        classes={"flute": 0, "tuba": 1, "harp": 2, "oboe": 3},
        motion_steps=160,
    )
    right = mixture_dataset(separate, tables, [key], 2, table)
    assert [right.tables[f"label_ref{n}"] for n in (1, 2)] == [{key: 0}, {key: 1}]
    tables.update(class_ref1={key: "oboe"}, class_ref2={key: "harp"})
    swapped = mixture_dataset(separate, tables, [key], 2, table)
    assert [swapped.tables[f"label_ref{n}"] for n in (1, 2)] == [{key: 3}, {key: 2}]
