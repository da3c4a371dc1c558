import json

import numpy as np
import pytest
import torch

from espnet2_avsep.analysis import clip_embeddings
from espnet2_avsep.bin.compare.modality_gap import main
from tests.support.tiny_corpus import DIM
from tests.support.tone_clips import make_tone_clips
from tests.support.trained_model import make_trained_folder

ALIGNED = [{"name": "spectrogram_l1"}, {"name": "alignment", "conf": {}}]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("gap")
    make_tone_clips(root / "clips", takes=[0, 1])
    make_trained_folder(root / "exp", system="HFRA")
    aligned = [ALIGNED[0], {**ALIGNED[1], "conf": {"teacher_dim": DIM}}]
    make_trained_folder(root / "aligned", criterions=aligned)
    return root


def run(corpus, out, *more):
    options = ["--clips_dir", corpus / "clips", "--output_dir", out]
    options += ["--experiment", corpus / "exp", "--resamples", "200"]
    return main([*map(str, options), "--device", "cpu", *map(str, more)])


def test_gaps(corpus, tmp_path, capsys, monkeypatch):
    """CLAP is stood in for by embeddings whose gap to the pictures is known."""

    def embed_teacher(teacher, segments, device, batch_size):
        # The mean of four unit vectors, one a class, has the length 1 / 2.
        return np.repeat([[3.0, 3.0, 3.0, 3.0]], len(segments.keys), axis=0)

    monkeypatch.setattr(clip_embeddings, "embed_teacher", embed_teacher)
    monkeypatch.setattr(
        "espnet2_avsep.analysis.modality_gap.load_clap",
        lambda args, device: type("T", (), {"description": "a stand-in"}),
    )
    more = ["--experiment", f"aligned={corpus}/aligned", "--clap", "random"]
    assert run(corpus, tmp_path, *more) == 0
    summary = json.loads((tmp_path / "modality_gap.json").read_text())
    plain, aligned = summary["experiments"]["HFRA"], summary["experiments"]["aligned"]
    size = torch.load(corpus / "exp" / "valid.si_sdr_i.best.pth")[
        "separator.middle_projection.0.weight"
    ].shape[0]
    assert plain["bottleneck - visual"] == {"dims": [size, DIM], "gap": None}
    assert "projected bottleneck - visual" not in plain
    # |(1, 1, 1, 1) / 2 - (1, 1, 1, 1) / 4|, up to the noise of the pictures' rows.
    assert plain["CLAP - visual"]["gap"] == pytest.approx(0.5, abs=0.02)
    assert plain["CLAP - visual"] == aligned["CLAP - visual"]
    gap = aligned["projected bottleneck - visual"]
    assert 0 < gap["gap"] < 2 and len(gap["interval"]) == 2
    text = (tmp_path / "modality_gap.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert f"{size} and {DIM} values" in text and "(random weights)" in text
    assert "0.976" in text and "a stand-in: it has learnt nothing" in text
    picture = (tmp_path / "modality_gap.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert run(corpus, tmp_path / "again", *more) == 0
    assert (tmp_path / "again" / "modality_gap.png").read_bytes() == picture


def test_without_clap_and_picture(corpus, tmp_path):
    assert run(corpus, tmp_path, "--clap", "none", "--plots", "false") == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"modality_gap.md", "modality_gap.json"}
    gaps = json.loads((tmp_path / "modality_gap.json").read_text())["experiments"]
    assert list(gaps["HFRA"]) == ["bottleneck - visual"]


def test_an_embedding_of_length_0_is_named(corpus, tmp_path, capsys, monkeypatch):
    original = clip_embeddings.embed_separator

    def embed(separate, segments, batch_size):
        found = original(separate, segments, batch_size)
        return {**found, "bottleneck": np.zeros_like(found["visual"])}

    monkeypatch.setattr(clip_embeddings, "embed_separator", embed)
    assert run(corpus, tmp_path, "--clap", "none") == 2
    assert "HFRA, bottleneck and visual" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
