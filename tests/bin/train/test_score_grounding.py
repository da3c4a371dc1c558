"""Pairs of sounds and pictures, asked of a model with a grounding network."""

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from espnet2_avsep.bin.train.config import main as get_config
from espnet2_avsep.bin.train.score_grounding import main
from espnet2_avsep.data.mixing.mixture_table import read_sources
from espnet2_avsep.inference.separate import SeparateAV
from espnet2_avsep.scoring.grounding import read_table
from tests.inference.test_grounding_map import CCOL
from tests.support.tiny_corpus import DIM, FS, SEGMENT, embedding, tone
from tests.support.trained_model import make_trained_folder

NAMES = [("low", "mid"), ("high", "top"), ("mid", "high")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three mixtures of two tones, of the last one only the first sounds."""
    root = tmp_path_factory.mktemp("grounding")
    make_trained_folder(root / "model", **CCOL)
    make_trained_folder(root / "hfra")
    lines = ["mix_id\tclip1\tspk1\tclip2\tspk2\tsilent1\tsilent2"]
    for n in (1, 2):
        scp, rows = [], {}
        for m, pair in enumerate(NAMES):
            wave = tone(pair[n - 1], SEGMENT) * (m < 2 or n == 1) / 2
            path = root / f"{m}_{n}.wav"
            soundfile.write(path, wave, FS, subtype="FLOAT")
            scp.append(f"mix{m} {path}\n")
            rows[f"mix{m}"] = embedding(pair[n - 1])
        (root / f"spk{n}.scp").write_text("".join(scp))
        kaldiio.save_ark(
            str(root / f"v{n}.ark"), rows, scp=str(root / f"visual_spk{n}.scp")
        )
    for m, (a, b) in enumerate(NAMES):
        lines.append(f"mix{m}\t{a}-x\t{a}\t{b}-x\t{b}\t0\t{int(m == 2)}")
    (root / "mixtures.tsv").write_text("\n".join(lines) + "\n")
    return root


def arguments(place, out, model="model"):
    return [
        *("--train_config", str(place / model / "config.yaml")),
        *("--model_file", str(place / model / "valid.si_sdr_i.best.pth")),
        *("--set_dir", str(place), "--output_dir", str(out)),
    ]


def test_every_pair_is_asked_about(place, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*arguments(place, out), "--batch_size", "2"]) == 0
    pairs = read_table(out / "grounding.tsv")
    counts = {}
    for pair in pairs:
        key = pair.sound, pair.sounds
        counts[key] = counts.get(key, 0) + 1
    # Five sources sound. One that is silent is a picture of what is not heard.
    assert counts == {
        ("source", True): 5,
        ("source", False): 5,
        ("mixture", True): 5,
        ("mixture", False): 6,
    }
    assert "a source by itself, its own picture: sounds" in capsys.readouterr().out

    model = SeparateAV.from_pretrained(place / "model").model
    for pair in pairs:
        if not pair.sounds and (pair.mix_id, pair.source) != ("mix2", 2):
            continue  # which picture was drawn is shuffle_visual's
        m = int(pair.mix_id[-1])
        waves = [tone(name, SEGMENT) / 2 for name in NAMES[m][: 1 if m == 2 else 2]]
        wave = sum(waves) if pair.sound == "mixture" else waves[pair.source - 1]
        visual = torch.from_numpy(embedding(NAMES[m][pair.source - 1]))[None, None]
        expected = model.ground(torch.from_numpy(np.float32(wave))[None], visual)
        assert pair.probability == pytest.approx(expected.item(), abs=1e-5)
    before = (out / "grounding.tsv").read_bytes()
    assert main(arguments(place, out)) == 0
    assert (out / "grounding.tsv").read_bytes() == before
    assert len(read_sources(place / "mixtures.tsv")) == 3


def test_model_that_does_not_ground(place, tmp_path, capsys):
    assert main(arguments(place, tmp_path / "out", "hfra")) == 2
    assert "has no grounding network" in capsys.readouterr().err
    assert not (tmp_path / "out" / "grounding.tsv").exists()


def test_no_other_class_to_ask_about(place, tmp_path, caplog):
    """A set of the classes of its mixtures only: stage 8 failed."""
    for table in ("spk1.scp", "spk2.scp", "visual_spk1.scp", "visual_spk2.scp"):
        first = (place / table).read_text().splitlines(keepends=True)[0]
        (tmp_path / table).write_text(first)
    rows = (place / "mixtures.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "mixtures.tsv").write_text("".join(rows[:2]))
    options = arguments(place, tmp_path / "out")
    options[options.index("--set_dir") + 1] = str(tmp_path)
    assert main(options) == 0
    pairs = read_table(tmp_path / "out" / "grounding.tsv")
    assert [(pair.sound, pair.source, pair.sounds) for pair in pairs] == [
        ("mixture", 1, True),
        ("source", 1, True),
        ("mixture", 2, True),
        ("source", 2, True),
    ]
    assert "1 of 1 mixtures hold every class of the set" in caplog.text


@pytest.mark.parametrize("presence", [0, 4])
def test_presence_makes_a_separator_that_grounds(place, tmp_path, capsys, presence):
    """Stage 8 asks the configuration: the class alone does not tell."""
    conf = {"visual_dim": DIM, "num_bins": 64, "channels": [4, 8], "blocks": 1}
    make_trained_folder(
        tmp_path / "model",
        separator="tfc_tdf",
        separator_conf={**conf, "patch": 4, "width": 4, "presence": presence},
        model_conf={"num_log_bins": None, "compression": "power"},
    )
    config = str(tmp_path / "model" / "config.yaml")
    assert get_config(["--get", "grounds", config]) == 0
    assert capsys.readouterr().out == f"{str(presence > 0).lower()}\n"
    code = main(arguments(place, tmp_path / "out", tmp_path / "model"))
    assert code == (0 if presence else 2)
    assert (tmp_path / "out" / "grounding.tsv").exists() == (presence > 0)
