"""Sound of Motions through ESPnet's trainer and the separation of listed mixtures."""

import kaldiio
import numpy as np
import pytest
import soundfile
import yaml

from espnet2_avsep.bin.train.inference import main as separate_main
from espnet2_avsep.bin.train.train import main
from espnet2_avsep.data.tables.scp import read_scp
from tests.support.tiny_corpus import (
    DIM,
    MODEL_OPTIONS,
    make_tiny_corpus,
    train_command,
)

FLOW_DIM = 2 * 2**2 + 1
SEPARATOR = {
    "visual_dim": DIM,
    "places": 1,
    "motion_dim": FLOW_DIM,
    "motion_channels": 4,
    "motion_levels": 1,
    "channels": 4,
    "layers": 4,
}
DATASET = {**MODEL_OPTIONS["dataset_conf"], "motion_align": "segment"}
OPTIONS = {
    **MODEL_OPTIONS,
    "separator": "sound_of_motions",
    "separator_conf": SEPARATOR,
    "dataset_conf": DATASET,
    "max_epoch": 1,
    "num_iters_per_epoch": 2,
    "num_att_plot": 0,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = make_tiny_corpus(tmp_path_factory.mktemp("corpus"))
    rng = np.random.default_rng(0)

    def rows(count):
        return rng.normal(0, 0.05, (count, FLOW_DIM)).astype(np.float32)

    tables = {
        root / "train" / "motion_spk1": (read_scp(root / "train" / "spk1.scp"), 12)
    }
    for n in (1, 2):
        keys = read_scp(root / "valid" / "wav.scp")
        tables[root / "valid" / f"motion_spk{n}"] = keys, 4
    for base, (keys, count) in tables.items():
        matrices = {key: rows(count) for key in keys}
        kaldiio.save_ark(f"{base}.ark", matrices, scp=f"{base}.scp")
    return root


def train(root, folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "train.yaml").write_text(yaml.safe_dump({**OPTIONS, **changes}))
    name = "data_path_and_name_and_type"
    argv = [f"--train_{name}", f"{root}/train/motion_spk1.scp,motion_ref1,kaldi_ark"]
    for n in (1, 2):
        argv += [f"--valid_{name}"]
        argv += [f"{root}/valid/motion_spk{n}.scp,motion_ref{n},kaldi_ark"]
    return main(train_command(root, folder / "train.yaml", folder / "exp", *argv))


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assert train(corpus, folder) == 0
    return folder / "exp"


def separated(corpus, exp, output, *more):
    valid = corpus / "valid"
    argv = ["--train_config", f"{exp}/config.yaml", "--output_dir", str(output)]
    argv += ["--model_file", f"{exp}/valid.si_sdr_i.best.pth"]
    triples = [f"{valid}/wav.scp,speech_mix,sound"]
    for kind in ("visual", "motion"):
        triples += [
            f"{valid}/{kind}_spk{n}.scp,{kind}_ref{n},kaldi_ark" for n in (1, 2)
        ]
    for triple in triples:
        argv += ["--data_path_and_name_and_type", triple]
    assert separate_main([*argv, *more]) == 0
    return [
        np.stack([soundfile.read(path)[0] for path in read_scp(path).values()])
        for path in (output / "spk1.scp", output / "spk2.scp")
    ]


def test_motion_is_frozen_or_swapped(corpus, trained, tmp_path):
    """As a second table of motion would have it; an earlier result is made again."""
    as_is = separated(corpus, trained, tmp_path / "tracks")
    swapped = separated(
        corpus, trained, tmp_path / "tracks", "--change_motion", "swapped"
    )
    frozen = separated(
        corpus, trained, tmp_path / "frozen", "--change_motion", "frozen"
    )
    valid = corpus / "valid"
    names = [valid / f"motion_spk{n}.scp" for n in (1, 2)]
    texts = [name.read_text() for name in names]
    try:
        for name, text in zip(names, reversed(texts), strict=True):
            name.write_text(text)
        expected = separated(corpus, trained, tmp_path / "expected")
    finally:
        for name, text in zip(names, texts, strict=True):
            name.write_text(text)
    np.testing.assert_allclose(swapped, expected, atol=1e-6)
    assert np.abs(np.subtract(swapped, as_is)).max() > 1e-6
    assert np.abs(np.subtract(frozen, as_is)).max() > 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset_conf": {**DATASET, "motion_align": "whole"}},
            "must cover the time of the sound: give --motion_align segment",
        ),
        (
            {"dataset_conf": {**DATASET, "frame_flip": True}},
            "optical flow is not cropped or mirrored with the pictures",
        ),
        (
            {"dataset_conf": {**DATASET, "motion_steps": 160}},
            "motion_steps is 160, but this separator sums up optical flow",
        ),
        (
            {"separator_conf": {**SEPARATOR, "motion_dim": 1024}},
            "motion_dim=1024: rows of optical flow have 2",
        ),
        (
            {"dataset_conf": {**DATASET, "segment_samples": 10**5}},
            "clips are shorter than segment_samples = 100000",
        ),
    ],
)
def test_motion_that_does_not_go_with_the_sound(
    corpus, tmp_path, capsys, changes, message
):
    assert train(corpus, tmp_path, **changes) == 2
    assert message in capsys.readouterr().err
