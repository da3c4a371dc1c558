"""Training on frames through ESPnet, and separating pictures with the result."""

import numpy as np
import pytest
import torch
import yaml

from espnet2_avsep import SeparateAV, Text
from espnet2_avsep.bin.train.inference import main as infer
from espnet2_avsep.bin.train.train import main as train
from espnet2_avsep.data.tables.scp import read_scp, write_scp
from espnet2_avsep.errors import InputError
from tests.support.frame_fixtures import pack, write_frames
from tests.support.tiny_corpus import (
    MODEL_OPTIONS,
    TONES,
    make_tiny_corpus,
    train_command,
)

SYSTEM = {
    "visual_adapter": "resnet18_dilated",
    "visual_adapter_conf": {"embedding_dim": 4, "size": 32, "pretrained": "random"},
    "separator": "sound_of_pixels",
    "separator_conf": {"visual_dim": 4, "channels": 4, "layers": 4},
    "optim": "sgd",
    "optim_conf": {"lr": 1.0e-3, "momentum": 0.9},
    "optim_groups": [{"prefix": "visual_adapter.features.", "lr": 1.0e-4}],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = make_tiny_corpus(tmp_path_factory.mktemp("corpus"))
    numbers = {name: n for n, name in enumerate(TONES)}
    train_dir = root / "train"
    clips = {
        key: pack(numbers[key.split("-")[0]], 3, size=40)
        for key in read_scp(train_dir / "spk1.scp")
    }
    table = write_frames(train_dir / "frames.ark", clips)
    write_scp(train_dir / "visual_spk1.scp", table)
    shape = root / "stats" / "train" / "visual_ref1_shape"
    write_scp(shape, dict.fromkeys(clips, "3,3,40,40"))
    for n in (1, 2):
        keys = read_scp(root / "valid" / f"visual_spk{n}.scp")
        clips = {key: pack(n, 2, size=40) for key in keys}
        table = write_frames(root / "valid" / f"frames{n}.ark", clips)
        write_scp(root / "valid" / f"visual_spk{n}.scp", table)
    return root


@pytest.fixture(scope="module")
def exp(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    options = {**MODEL_OPTIONS, **SYSTEM, "max_epoch": 1, "num_iters_per_epoch": 2}
    data = {"visual_frames": 2, "visual_stride": 1, "frame_crop": 32}
    options["dataset_conf"] = {**options["dataset_conf"], **data, "frame_flip": True}
    (folder / "train.yaml").write_text(yaml.safe_dump(options))
    argv = train_command(corpus, folder / "train.yaml", folder / "exp")
    assert train(argv) == 0
    info = {"encoder": "frames", "size": 40, "jpeg_quality": 90}
    (folder / "exp" / "visual_info.yaml").write_text(yaml.safe_dump(info))
    return folder / "exp"


def test_the_frame_network_has_its_own_learning_rate(exp):
    states = torch.load(exp / "checkpoint.pth", weights_only=False)
    groups = states["optimizers"][0]["param_groups"]
    assert [group["lr"] for group in groups] == [1e-3, 1e-4]
    # conv and BatchNorm weights of ResNet-18 without its classifier.
    assert len(groups[1]["params"]) == 60


def test_separates_pictures_and_nothing_else(exp):
    separate = SeparateAV.from_pretrained(exp)
    mixture = np.random.default_rng(1).normal(size=2000).astype(np.float32) / 10
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    tracks = separate(mixture, [picture, picture[::-1]])
    assert tracks.shape == (2, 2000) and np.isfinite(tracks).all()
    swapped = separate(mixture, [picture[::-1], picture])
    np.testing.assert_allclose(swapped, tracks[::-1], atol=1e-6)
    for prompt in (np.zeros(4, np.float32), Text("flute")):
        with pytest.raises(InputError, match="prompt 1 is no picture"):
            separate(mixture, [prompt])


def test_stage_7(exp, corpus, tmp_path):
    argv = ["--train_config", str(exp / "config.yaml"), "--output_dir", str(tmp_path)]
    argv += ["--model_file", str(exp / "valid.si_sdr_i.best.pth"), "--batch_size", "2"]
    for path, name in [
        ("wav.scp", "speech_mix"),
        ("visual_spk1.scp", "visual_ref1"),
        ("visual_spk2.scp", "visual_ref2"),
    ]:
        triple = f"{corpus / 'valid' / path},{name},any"
        argv += ["--data_path_and_name_and_type", triple]
    assert infer(argv) == 0
    assert len(read_scp(tmp_path / "spk2.scp")) == 4
