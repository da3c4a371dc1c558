"""The gate's table and pictures, from a model with random weights."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin.compare.gate_analysis import main
from tests.support.tiny_corpus import DIM, embedding, make_tiny_corpus
from tests.support.trained_model import make_trained_folder

PAIRS = [("low", "high"), ("mid", "top"), ("top", "low"), ("high", "mid")]
SEPARATOR = {
    "visual_dim": DIM,
    "queries": "label_free",
    "motion": False,
    "channels": 8,
    "layers": 4,
    "middle_level": 2,
    "width": 8,
    "attention_groups": 4,
    "dim": 16,
    "heads": 2,
    "feedforward_dim": 32,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = make_tiny_corpus(tmp_path_factory.mktemp("corpus"))
    lines = ["mix_id\tclip1\tspk1\tclip2\tspk2"]
    lines += [f"mix{i:05d}\t{a}\t{a}\t{b}\t{b}" for i, (a, b) in enumerate(PAIRS)]
    (root / "valid" / "mixtures.tsv").write_text("\n".join(lines) + "\n")
    return root


def run(corpus, folder, output, *more):
    argv = ["--train_config", f"{folder}/config.yaml", "--output_dir", str(output)]
    argv += ["--model_file", f"{folder}/valid.si_sdr_i.best.pth"]
    for path, name in [
        ("wav", "speech_mix"),
        ("visual_spk1", "visual_ref1"),
        ("visual_spk2", "visual_ref2"),
    ]:
        argv += ["--data_path_and_name_and_type"]
        argv += [f"{corpus}/valid/{path}.scp,{name},kaldi_ark"]
    return main([*argv, *more])


def test_table_and_pictures(corpus, tmp_path):
    folder = make_trained_folder(
        tmp_path / "exp", separator="query", separator_conf=SEPARATOR
    )
    out = tmp_path / "out"
    assert run(corpus, folder, out, "--batch_size", "3", "--num_attention", "2") == 0
    with (out / "gates.tsv").open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    assert [(r["mix_id"], r["source"], r["class"]) for r in rows] == [
        (f"mix{i:05d}", str(n + 1), pair[n])
        for i, pair in enumerate(PAIRS)
        for n in (0, 1)
    ]
    # The means are those of the gates themselves, of each mixture alone.
    model = SeparateAV.from_pretrained(folder).model
    for i, pair in enumerate(PAIRS):
        wav, _ = soundfile.read(corpus / "wavs" / f"mix{i:05d}.wav", dtype="float32")
        visual = torch.from_numpy(np.stack([embedding(name) for name in pair]))[None]
        gates = []
        hook = model.separator.fusion.register_forward_hook(
            lambda *given, gates=gates: gates.append(given[-1][1])
        )
        model.separate(torch.from_numpy(wav)[None], visual)
        hook.remove()
        # 48 x 32 bins need no padding at 1 / 4 of the resolution.
        for n in (0, 1):
            mean = gates[0][n, 0].mean().item()
            assert float(rows[2 * i + n]["mean_gate"]) == pytest.approx(mean, abs=2e-6)
    for name in ("gate_histogram", "gate_maps", "attention/mix00001"):
        with Image.open(out / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.std() > 10 and min(pixels.shape[:2]) > 200, name
    assert len(list((out / "attention").iterdir())) == 2


def test_without_a_gate_there_is_attention_alone(corpus, tmp_path):
    conf = {**SEPARATOR, "gate": "none"}
    folder = make_trained_folder(
        tmp_path / "exp", separator="query", separator_conf=conf
    )
    assert run(corpus, folder, tmp_path / "out", "--num_attention", "1") == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["attention"]


def test_a_separator_without_either(corpus, tmp_path, capsys):
    folder = make_trained_folder(tmp_path / "exp")
    assert run(corpus, folder, tmp_path / "out") == 2
    assert "neither a gate nor queries" in capsys.readouterr().err
