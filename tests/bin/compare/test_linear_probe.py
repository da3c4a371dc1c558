import csv
import json

import pytest
import soundfile
import torch
import yaml

from espnet2_avsep.bin.compare.linear_probe import main
from espnet2_avsep.teacher import clap_teacher
from tests.support.tiny_corpus import SEGMENT, tone
from tests.support.tone_clips import make_tone_clips
from tests.support.trained_model import make_trained_folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("probe")
    make_tone_clips(root / "train", takes=[0, 1, 2])
    make_tone_clips(root / "test", takes=[7, 8])
    make_trained_folder(root / "exp", system="HFRA", seed=3)
    return root


def run(corpus, out, *more, test="test"):
    options = ["--train_dir", corpus / "train", "--test_dir", corpus / test]
    options += ["--output_dir", out, "--resamples", "200", "--device", "cpu"]
    return main([*map(str, options), *map(str, more)])


def test_tones_are_told_apart(corpus, tmp_path, capsys, monkeypatch):
    built = []

    class Loudness(torch.nn.Module):
        """Stands in for CLAP; all it hears is loudness, which says little."""

        description = "a stand-in"

        def __init__(self, checkpoint, dtype="float32"):
            super().__init__()
            built.append((checkpoint, dtype))

        def forward(self, wav, fs):
            return wav.square().mean(dim=1, keepdim=True).expand(-1, 3)

    monkeypatch.setattr(clap_teacher, "ClapTeacher", Loudness)
    experiments = ["--experiment", corpus / "exp", "--experiment", f"b={corpus}/exp"]
    clap = ["--clap", "random", "--clap_conf", "{dtype: float32}"]
    more = [*experiments, *clap, "--corpus_note", "A toy."]
    assert run(corpus, tmp_path, *more) == 0
    assert built == [("random", "float32")]
    summary = json.loads((tmp_path / "linear_probe.json").read_text())
    rows = summary["representations"]
    # Four tones lie in four places of even an untrained bottleneck.
    assert list(rows) == ["HFRA", "b", "CLAP"]
    assert rows["HFRA"]["accuracy"] == 1 and rows["HFRA"]["interval"] == [1, 1]
    assert rows["HFRA"]["seeds"] == {"0": 1, "1": 1, "2": 1}
    assert rows["b"]["minus_first"] == 0 and rows["b"]["minus_first_interval"] == [0, 0]
    assert rows["CLAP"]["dim"] == 3 and rows["CLAP"]["accuracy"] < 0.6
    assert summary["chance"] == summary["most_frequent_class"] == 0.25
    assert (summary["train_clips"], summary["test_clips"]) == (12, 8)
    assert summary["segment_samples"] == SEGMENT
    text = (tmp_path / "linear_probe.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "**A toy.**" in text and "CLAP (random weights)" in text
    assert "CLAP: a stand-in: it has learnt nothing" in text and "table 4" in text
    with (tmp_path / "linear_probe_predictions.tsv").open() as f:
        lines = list(csv.DictReader(f, delimiter="\t"))
    assert len(lines) == 3 * 3 * 8
    own = [line for line in lines if line["representation"] == "HFRA"]
    assert all(line["class"] == line["predicted"] for line in own)
    assert all(line["clip"].startswith(line["class"]) for line in lines)
    again = tmp_path / "again"
    assert run(corpus, again, *more) == 0
    for path in again.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_swapped_classes_and_unknown_ones_count_as_wrong(corpus, tmp_path):
    test = make_tone_clips(corpus / "swapped", takes=[9])
    table = {"high-9": "low", "low-9": "high", "mid-9": "mid", "top-9": "gong"}
    text = "".join(f"{key} {value}\n" for key, value in table.items())
    (test / "utt2spk").write_text(text)
    experiment = ["--experiment", corpus / "exp", "--clap", "none"]
    assert run(corpus, tmp_path, *experiment, test="swapped") == 0
    summary = json.loads((tmp_path / "linear_probe.json").read_text())
    row = summary["representations"]["HFRA"]
    assert row["accuracy"] == 0.25
    assert row["classes"] == {"gong": 0, "high": 0, "low": 0, "mid": 1}
    assert summary["unknown_classes"] == ["gong"] and summary["clap"] is None
    text = (tmp_path / "linear_probe.md").read_text()
    assert "always wrong: gong" in text and "CLAP: left out" in text


def test_clips_of_another_encoder_are_refused(corpus, tmp_path, capsys):
    """Of the same size, so that the separator would take their embeddings."""
    info = {"encoder": "open_clip", "model": "ViT-B-32", "weights": "a", "dim": 6}
    path = corpus / "exp" / "visual_info.yaml"
    before = path.read_bytes() if path.is_file() else None
    path.write_text(yaml.safe_dump(info))
    other = corpus / "test" / "visual_info.yaml"
    other.write_text(yaml.safe_dump({**info, "weights": "b"}))
    try:
        assert run(corpus, tmp_path, "--experiment", corpus / "exp") == 2
        assert "made by another encoder" in capsys.readouterr().err
    finally:
        other.unlink()
        path.unlink() if before is None else path.write_bytes(before)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seeds", "1", "1"], "different numbers"),
        (["--penalty", "0"], "expected more than 0"),
        (["--segments", "0"], "at least 1"),
        (["--experiment", "EXP"], "'HFRA' is taken"),
        (["--experiment", "CLAP=EXP"], "'CLAP' is taken"),
        (["--experiment", "nowhere"], "there is no folder nowhere"),
        (["--clap", "random", "--clap_conf", "[1]"], "expected a mapping"),
        (["--clap", "random", "--clap_conf", "{size: 3}"], "unknown key"),
        (["--clap", "nothing.pt"], "--clap none leaves CLAP out"),
        (["--clap", "none", "--model_file", "2epoch.pth"], "2epoch.pth: no such file"),
    ],
)
def test_mistakes_are_explained(corpus, tmp_path, capsys, more, message):
    more = [part.replace("EXP", str(corpus / "exp")) for part in more]
    assert run(corpus, tmp_path, "--experiment", corpus / "exp", *more) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sets_and_rates_must_fit(corpus, tmp_path, capsys):
    experiment = ["--experiment", corpus / "exp", "--clap", "none"]
    assert run(corpus, tmp_path, *experiment, test="train") == 2
    assert "share 12 clips" in capsys.readouterr().err
    other = make_trained_folder(tmp_path / "other", sample_rate=1000)
    assert run(corpus, tmp_path, *experiment, "--experiment", other) == 2
    assert "different sampling rates" in capsys.readouterr().err
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    assert run(corpus, tmp_path, "--experiment", untrained) == 2
    assert "Give the folder that training wrote" in capsys.readouterr().err
    (untrained / "config.yaml").write_text("trained: false\n")
    assert run(corpus, tmp_path, "--experiment", untrained) == 2
    assert "without training" in capsys.readouterr().err
    loud = make_tone_clips(tmp_path / "loud", takes=[4], names=["low"])
    soundfile.write(loud / "wavs" / "low-4.wav", tone("low", 4 * SEGMENT), 4000)
    argv = ["--train_dir", corpus / "train", "--test_dir", loud]
    argv += [*experiment, "--output_dir", tmp_path]
    assert main(list(map(str, argv))) == 2
    assert "4000 Hz where 2000 Hz were expected" in capsys.readouterr().err
