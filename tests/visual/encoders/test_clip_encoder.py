import hashlib
import json
import logging
import socket
import time
from typing import Tuple

import numpy as np
import pytest
import torch
from PIL import Image

from espnet2_avsep.errors import InputError
from espnet2_avsep.visual.build import build_encoder, encoder_from_info
from espnet2_avsep.visual.encoders.clip_encoder import load_open_clip
from espnet2_avsep.visual.encoders.clip_vit import CLIPVisionTransformer, is_plain_vit
from espnet2_avsep.visual.pretrained import open_clip_weights, weights

open_clip = pytest.importorskip("open_clip")

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {
        "context_length": 8,
        "vocab_size": 50,
        "width": 64,
        "heads": 1,
        "layers": 1,
    },
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The name of a model small enough for tests."""
    path = tmp_path_factory.mktemp("config") / "tiny-test.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)
    yield "tiny-test"
    open_clip.factory._MODEL_CONFIGS.pop("tiny-test")


def build(name, **options):
    torch.manual_seed(7)
    return open_clip.create_model(name, load_weights=False, **options).eval()


def random_images(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in sizes]


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preprocessing_is_that_of_open_clip(tiny, tmp_path, mode, interpolation):
    asked = {
        "resize_mode": mode,
        "interpolation": interpolation,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.5, 0.6, 0.7),
        "fill_color": 9,
    }
    network = open_clip.create_model(
        tiny, load_weights=False, force_preprocess_cfg=asked
    )
    expected = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**network.visual.preprocess_cfg),
        is_train=False,
    )
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    config = {"model_cfg": {}, "preprocess_cfg": asked}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    encoder = load_open_clip(tiny, str(tmp_path / "weights.pt"), batch_size=1)
    sizes = [(48, 85), (85, 48), (32, 32), (61, 61), (20, 31), (33, 100)]
    for image in random_images(*sizes):
        found = encoder.normalise(encoder.fit(image.copy())[None])[0]
        reference = expected(Image.fromarray(image))
        torch.testing.assert_close(found, reference, atol=1e-6, rtol=0)


def test_rows_are_those_of_encode_image(tiny, tmp_path):
    model = build(tiny)
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    encoder = load_open_clip(tiny, str(path), batch_size=2)
    images = random_images((32, 50), (70, 40), (32, 32))
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(size=32), is_train=False
    )
    with torch.inference_mode():
        batch = torch.stack([transform(Image.fromarray(image)) for image in images])
        expected = model.encode_image(batch).numpy()
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-5)
    assert not np.allclose(np.linalg.norm(expected, axis=1), 1)  # not normalised


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_the_tower_without_open_clip_is_the_one_of_open_clip(tiny, quick_gelu):
    """Same random weights, and same embeddings in float64."""
    reference = build(tiny, force_quick_gelu=quick_gelu).visual.double()
    config = open_clip.get_model_config(tiny)
    torch.manual_seed(7)
    tower = CLIPVisionTransformer(
        config["embed_dim"], **config["vision_cfg"], quick_gelu=quick_gelu
    ).double()
    found = tower.state_dict()
    assert list(found) == list(reference.state_dict())
    for name, value in reference.state_dict().items():
        assert torch.equal(found[name], value), name
    for weight in reference.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    tower.load_state_dict(reference.state_dict())
    batch = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(tower(batch), reference(batch), atol=1e-12, rtol=1e-12)


def test_which_towers_need_open_clip():
    plain = {
        "ViT-B-32",
        "ViT-L-14-336-quickgelu",
        "ViT-H-14",
        "xlm-roberta-base-ViT-B-32",
    }
    others = {"RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32", "convnext_base", "EVA02-B-16"}
    assert all(is_plain_vit(open_clip.get_model_config(name)) for name in plain)
    assert not any(is_plain_vit(open_clip.get_model_config(name)) for name in others)
    assert not is_plain_vit({})


def test_a_tower_of_open_clip_where_it_is_needed(tmp_path):
    tower = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
    path = tmp_path / "tiny-average.json"
    path.write_text(json.dumps({**TINY, "vision_cfg": {**tower, "pool_type": "avg"}}))
    open_clip.add_model_config(path)
    try:
        model = build("tiny-average")
        torch.save(model.state_dict(), tmp_path / "weights.pt")
        encoder = load_open_clip("tiny-average", str(tmp_path / "weights.pt"))
    finally:
        open_clip.factory._MODEL_CONFIGS.pop("tiny-average")
    batch = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encoder.tower(batch), model.visual(batch))


def test_the_text_tower_is_dropped(tiny):
    encoder = load_open_clip(tiny, "random")
    names = [name for name, _ in encoder.tower.named_parameters()]
    assert not [name for name in names if "token_embedding" in name or "text" in name]


def test_random_weights_by_seed(tiny, caplog):
    image = random_images((32, 32))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = load_open_clip(tiny, "random", seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(4)
    rows = first.encode(image)
    np.testing.assert_array_equal(
        rows, load_open_clip(tiny, "random", seed=0).encode(image)
    )
    other = load_open_clip(tiny, "random", seed=1)
    assert np.abs(rows - other.encode(image)).max() > 0.1
    assert first.info["weights"] == "random, seed 0"
    assert other.info["seed"] == 1
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "randomly initialised (seed 0), not CLIP" in warnings[0].getMessage()
    assert len(warnings) == 3  # and nothing of open_clip's own


@pytest.mark.parametrize("kind", ["pt", "safetensors", "with optimiser"])
def test_checkpoint_files(tiny, tmp_path, kind, caplog):
    caplog.set_level(logging.INFO)
    model = build(tiny)
    if kind == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "w.safetensors"
        save_file(model.state_dict(), path)
    else:
        path = tmp_path / "w.pt"
        state = model.state_dict()
        torch.save(state if kind == "pt" else {"state_dict": state, "epoch": 3}, path)
    encoder = load_open_clip(tiny, str(path))
    for name, value in model.visual.state_dict().items():
        assert torch.equal(encoder.tower.state_dict()[name], value)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert encoder.info["weights"] == f"sha256 {sha256}"
    assert sha256 in caplog.text
    assert str(path) in caplog.text
    assert "does not tell its activation" in caplog.text


def test_settings_beside_a_checkpoint_are_followed(tiny, tmp_path, caplog):
    model = build(tiny, force_quick_gelu=True)
    path = tmp_path / "open_clip_model.pt"
    torch.save(model.state_dict(), path)
    config = {
        "model_cfg": {"quick_gelu": True},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.1, 0.1, 0.1]},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    encoder = load_open_clip(tiny, str(path), batch_size=1)
    assert encoder.preprocessing.mean == (0.5, 0.5, 0.5)
    batch = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encoder.tower(batch), model.visual(batch))
    assert "does not tell its activation" not in caplog.text
    for damage in ("{", "[1]", "[" * 10**5, '{"preprocess_cfg": 3}'):
        (tmp_path / "open_clip_config.json").write_text(damage)
        with pytest.raises(InputError, match="open_clip_config.json: cannot be read"):
            load_open_clip(tiny, str(path), batch_size=1)


def test_openai_archives_get_their_activation(tiny, tmp_path, caplog):
    model = build(tiny, force_quick_gelu=True)
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.script(model).save(path)
    encoder = load_open_clip(tiny, str(path), batch_size=1)
    assert "does not tell its activation" not in caplog.text
    batch = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encoder.tower(batch), model.visual(batch))
    plain = build(tiny)
    assert (plain.visual(batch) - model.visual(batch)).abs().max() > 1e-3


class WritesWhenLoaded(torch.nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.path, self.weight = path, torch.nn.Parameter(torch.zeros(1))

    @torch.jit.export
    def __getstate__(self) -> Tuple[torch.Tensor, str]:
        return self.weight, self.path

    @torch.jit.export
    def __setstate__(self, state: Tuple[torch.Tensor, str]):
        self.weight, self.path, self.training = state[0], state[1], False
        torch.save(self.weight, self.path)


def test_archives_run_no_code_when_loaded(tiny, tmp_path):
    path, mark = tmp_path / "ViT-B-32.pt", tmp_path / "MARK"
    torch.jit.script(WritesWhenLoaded(str(mark))).save(path)
    torch.jit.load(path)
    assert mark.exists()
    mark.unlink()
    with pytest.raises(InputError, match=r"code/__torch__.*\.py would run code"):
        load_open_clip(tiny, str(path), batch_size=1)
    assert not mark.exists()


def test_a_tag_brings_its_activation_and_preprocessing(tiny, tmp_path, monkeypatch):
    """With open_clip 3 "ViT-B-32" + "openai" is built with GELU unless one asks."""
    model = build(tiny, force_quick_gelu=True)
    path = tmp_path / "w.pt"
    torch.save(model.state_dict(), path)
    tag = {"hf_hub": "a/b/", "quick_gelu": True, "mean": (0.5, 0.5, 0.5), "url": ""}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: tag)
    monkeypatch.setattr(open_clip_weights, "_fetch", lambda *_: str(path))
    encoder = load_open_clip(tiny, "openai", batch_size=1)
    assert encoder.preprocessing.mean == (0.5, 0.5, 0.5)
    batch = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encoder.tower(batch), model.visual(batch))
    assert encoder.info["pretrained"] == "openai"


def test_openai_tag_of_the_default_model_asks_for_quick_gelu():
    assert open_clip.get_pretrained_cfg("ViT-B-32", "openai")["quick_gelu"] is True


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of a checkpoint was run')",))


def test_checkpoints_that_do_not_fit(tiny, tmp_path):
    state = build(tiny).state_dict()
    path = tmp_path / "w.pt"
    for change in (
        {k: v for k, v in state.items() if k != "visual.proj"},
        {**state, "visual.more": torch.zeros(1)},
        {**state, "visual.proj": torch.zeros(64, 8)},
        {"visual.proj": Evil()},
        {1: torch.zeros(1)},
        [1, 2],
    ):
        torch.save(change, path)
        with pytest.raises(InputError, match="does not fit --visual_model tiny-test"):
            load_open_clip(tiny, str(path))
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="does not fit"):
        load_open_clip(tiny, str(path))


def test_names_that_nobody_knows(tmp_path):
    with pytest.raises(InputError, match="no such model; similar: ViT-B-32"):
        load_open_clip("ViT-B32", "openai")
    with pytest.raises(InputError, match="expected one of openai, laion400m_e31"):
        load_open_clip("ViT-B-32", "opnai")
    with pytest.raises(InputError, match="no such file"):
        load_open_clip("ViT-B-32", str(tmp_path / "nowhere.pt"))
    with pytest.raises(InputError, match="--visual_encoder clip: unknown"):
        build_encoder("clip")


def offline_error(tmp_path):
    begin = time.monotonic()
    with pytest.raises(InputError) as error:
        load_open_clip("ViT-B-32", "openai", cache_dir=str(tmp_path))
    assert time.monotonic() - begin < 30  # with retries, minutes
    message = str(error.value)
    for part in (str(tmp_path), "openai", "ViT-B-32", "/path/to.pt", "random"):
        assert part in message
    return message


def test_offline_error_when_told_to_stay_offline(tmp_path):
    assert "HF_HUB_OFFLINE is set" in offline_error(tmp_path)


def test_offline_error_without_a_network(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in offline_error(tmp_path)


def test_a_silent_server_does_not_hang(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}"
        )
        monkeypatch.setattr(weights, "CONNECT_TIMEOUT", 0.3)
        offline_error(tmp_path)


def test_weights_in_the_cache_need_no_network(tiny, tmp_path, monkeypatch):
    model = build(tiny)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "123"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("123")
    torch.save(model.state_dict(), snapshot / "open_clip_pytorch_model.bin")
    tag = {"hf_hub": "a/b/", "url": "", "quick_gelu": False}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: tag)
    encoder = load_open_clip(tiny, "mine", cache_dir=str(tmp_path), batch_size=1)
    batch = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(encoder.tower(batch), model.visual(batch))


@pytest.mark.parametrize(
    "wanted, files",
    [
        ("", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]),
        ("pytorch_model.bin", ["pytorch_model.safetensors", "pytorch_model.bin"]),
        ("model.pt", ["model.pt"]),
    ],
)
def test_files_of_a_hub_repository(wanted, files):
    assert open_clip_weights._hub_files(wanted) == files


def test_bfloat16_rows_are_close(tiny, fast_bfloat16):
    images = random_images((32, 50), (70, 40))
    full = load_open_clip(tiny, "random").encode(images)
    half = load_open_clip(tiny, "random", dtype="bfloat16").encode(images)
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.1


@pytest.mark.parametrize("pretrained", ["random", "file"])
def test_bfloat16_weights_are_the_rounded_ones(
    tiny, tmp_path, fast_bfloat16, pretrained
):
    if pretrained == "file":
        pretrained = str(tmp_path / "weights.pt")
        torch.save(build(tiny).state_dict(), pretrained)
    full = load_open_clip(tiny, pretrained).tower.state_dict()
    half = load_open_clip(tiny, pretrained, dtype="bfloat16").tower.state_dict()
    assert {value.dtype for value in half.values()} == {torch.bfloat16}
    for name, value in full.items():
        assert torch.equal(half[name], value.bfloat16()), name


def test_float32_where_bfloat16_is_slow(tiny, slow_bfloat16):
    images = random_images((32, 50))
    encoder = load_open_clip(tiny, "random", dtype="bfloat16")
    assert encoder.info["dtype"] == "float32"
    expected = load_open_clip(tiny, "random").encode(images)
    np.testing.assert_array_equal(encoder.encode(images), expected)


def test_the_encoder_of_a_training_comes_back(tiny, tmp_path):
    import yaml

    images = random_images((40, 40))
    made = load_open_clip(tiny, "random", seed=5)
    path = tmp_path / "visual_info.yaml"
    path.write_text(yaml.safe_dump({**made.info, "fps": 8, "every": 8}))
    found = encoder_from_info(path)
    np.testing.assert_allclose(found.encode(images), made.encode(images), atol=1e-5)


def test_weights_that_are_not_on_record_are_taken_with_a_warning(
    tiny, tmp_path, caplog
):
    """As of a released checkpoint, whose files do not say."""
    import yaml

    path = tmp_path / "visual_info.yaml"
    info = load_open_clip(tiny, "random").info
    path.write_text(yaml.safe_dump({**info, "weights": None}))
    encoder_from_info(path)
    assert "does not say which weights; random, seed 0 are taken" in caplog.text


def test_another_encoder_than_the_training_had_is_refused(tiny, tmp_path):
    import yaml

    weights = tmp_path / "w.pt"
    torch.save(build(tiny).state_dict(), weights)
    info = load_open_clip(tiny, str(weights)).info
    path = tmp_path / "visual_info.yaml"
    with pytest.raises(InputError, match="no such file"):
        encoder_from_info(path)
    path.write_text(yaml.safe_dump({**info, "weights": "sha256 0123"}))
    with pytest.raises(InputError, match="names weights with sha256 0123"):
        encoder_from_info(path)
    path.write_text(yaml.safe_dump({"encoder": "precomputed", "file": "f.h5"}))
    with pytest.raises(InputError, match="come from 'precomputed'"):
        encoder_from_info(path)
