"""What from_pretrained takes: folders, zip files, the hub, the model zoo."""

import shutil
import sys
import types

import numpy as np
import pytest
import torch
import yaml
from packed_model import make_experiment, make_packed_folder, zip_folder

from espnet2_avsep import SeparateAV
from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing import source
from espnet2_avsep.sharing.source import (
    DEFAULT_WEIGHTS,
    default_weights,
    find_model,
)
from espnet2_avsep.weights import read_state, write_safetensors
from tests.support.tiny_corpus import DIM, SEGMENT


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("exp") / "avsep_tiny")


@pytest.fixture
def packed(exp, tmp_path):
    return make_packed_folder(exp, tmp_path / "packed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPNET2_AVSEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def tracks(separate):
    rng = np.random.default_rng(0)
    prompts = list(rng.normal(size=(2, DIM)).astype(np.float32))
    return separate(rng.normal(size=SEGMENT).astype(np.float32) / 9, prompts)


def test_folder_zip_and_config_are_one_model(exp, packed, tmp_path, cache):
    expected = tracks(SeparateAV.from_pretrained(exp))
    archive = zip_folder(packed, tmp_path / "m.zip")
    for given in (exp / "config.yaml", packed, str(packed), archive, str(archive)):
        np.testing.assert_array_equal(
            tracks(SeparateAV.from_pretrained(given)), expected
        )
    (folder,) = cache.iterdir()  # unpacked once
    assert len(folder.name) == 64 and (folder / "visual_info.yaml").is_file()


def test_safetensors_are_preferred(packed):
    weights = packed / "valid.si_sdr_i.best.pth"
    write_safetensors(packed / "valid.si_sdr_i.best.safetensors", read_state(weights))
    expected = tracks(SeparateAV(packed / "config.yaml"))
    weights.write_bytes(b"a pickle that is not even looked at")
    np.testing.assert_array_equal(tracks(SeparateAV.from_pretrained(packed)), expected)


def test_other_weights_of_a_training(exp, packed):
    state = read_state(exp / "valid.si_sdr_i.best.pth")
    state = {
        name: 0.5 * v if v.dtype.is_floating_point else v for name, v in state.items()
    }
    torch.save(state, packed / "3epoch.pth")
    separate = SeparateAV.from_pretrained(packed, model_file=packed / "3epoch.pth")
    expected = tracks(SeparateAV(packed / "config.yaml", packed / "3epoch.pth"))
    np.testing.assert_array_equal(tracks(separate), expected)
    best = tracks(SeparateAV.from_pretrained(packed))
    assert np.abs(expected - best).max() > 1e-4


def test_trainings_that_chose_by_loss_still_load(exp, tmp_path):
    """Before version 0.2 the loss chose, and only valid.loss.best.pth was there."""
    old = shutil.copytree(exp, tmp_path / "old")
    (old / DEFAULT_WEIGHTS[0]).rename(old / "valid.loss.best.pth")
    assert default_weights(old).name == "valid.loss.best.pth"
    np.testing.assert_array_equal(
        tracks(SeparateAV.from_pretrained(old)), tracks(SeparateAV.from_pretrained(exp))
    )
    (old / "valid.loss.best.pth").rename(old / "7epoch.pth")
    with pytest.raises(InputError, match=r"si_sdr_i.*valid\.loss.*there: 7epoch\.pth"):
        SeparateAV.from_pretrained(old)
    (old / "7epoch.pth").unlink()
    with pytest.raises(InputError, match="Train first"):
        SeparateAV.from_pretrained(old)


def test_a_changed_file_is_noticed(packed):
    name = "valid.si_sdr_i.best.pth"
    digest = source.file_sha256(packed / name)
    info = packed / "pack_info.yaml"
    info.write_text(yaml.safe_dump({"sha256": {name: digest}}))
    assert find_model(packed).weights == packed / name
    state = read_state(packed / name)
    torch.save({k: v + 1 if v.dim() else v for k, v in state.items()}, packed / name)
    with pytest.raises(InputError, match=f"not the file that was packed.*{digest}"):
        find_model(packed)


def test_files_that_are_missing_or_were_not_packed(packed):
    name = "valid.si_sdr_i.best.pth"
    write_safetensors(packed / "valid.si_sdr_i.best.safetensors", {})
    files = (name, "config.yaml", "visual_info.yaml")
    digests = {file: source.file_sha256(packed / file) for file in files}
    info = packed / "pack_info.yaml"
    info.write_text(yaml.safe_dump({"sha256": {**digests, "motion_info.yaml": "1"}}))
    with pytest.raises(InputError, match=r"motion_info\.yaml: is not .*of no file"):
        find_model(packed)
    info.write_text(yaml.safe_dump({"sha256": digests}))
    # Nobody knows whose the other weights are.
    assert find_model(packed).weights == packed / name
    (packed / "visual_info.yaml").unlink()
    with pytest.raises(InputError, match=r"visual_info\.yaml: is not .*of no file"):
        find_model(packed)
    info.write_text(yaml.safe_dump({"sha256": [1, 2]}))
    with pytest.raises(InputError, match=r"sha256 is \[1, 2\]; expected files"):
        find_model(packed)


def test_a_damaged_copy_of_a_zip_file_is_unpacked_again(packed, tmp_path, cache):
    name = "valid.si_sdr_i.best.pth"
    digest = source.file_sha256(packed / name)
    (packed / "pack_info.yaml").write_text(yaml.safe_dump({"sha256": {name: digest}}))
    archive = zip_folder(packed, tmp_path / "my models" / "m.zip")
    weights = find_model(archive).weights
    for lost in (name, "meta.yaml", "config.yaml"):
        (weights.parent / lost).unlink()
        assert find_model(archive).weights == weights
        assert source.file_sha256(weights) == digest
    weights.write_bytes(b"cut off")
    assert find_model(archive).weights == weights
    assert source.file_sha256(weights) == digest
    (folder,) = cache.iterdir()
    assert folder == weights.parent


@pytest.mark.parametrize(
    "meta",
    [
        {"files": {"model_file": "../exp/valid.si_sdr_i.best.pth"}},
        {"files": {"model_file": "/etc/passwd"}},
        {"files": {"model_file": "none.pth"}},
        {"files": {"model_file": ["valid.si_sdr_i.best.pth"]}},
        {"files": {}},
        {"files": "valid.si_sdr_i.best.pth"},
        {},
        {"yaml_files": {"train_config": "../config.yaml"}},
        [1, 2],
    ],
)
def test_hostile_meta(packed, meta):
    path = packed / "meta.yaml"
    if isinstance(meta, dict) and "files" in meta:
        meta = {**yaml.safe_load(path.read_text()), **meta}
    path.write_text(yaml.safe_dump(meta))
    with pytest.raises(InputError, match=r"meta\.yaml: "):
        find_model(packed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system [touch written]", "not valid YAML"),
        ("a: [", "not valid YAML"),
        ("[" * 20000, "not valid YAML"),
        ("a: " + "b" * (1 << 20), "more than 1048576 bytes"),
    ],
)
def test_hostile_yaml(packed, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (packed / "meta.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        find_model(packed)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criterions": 3}, "describes no model"),
        ({"separator_conf": [1]}, "expected a mapping of arguments"),
        ({"separator": "unknown"}, "'unknown' is not known"),
        ({"separator_conf": {"channels": "many"}}, "separator_conf"),
    ],
)
def test_configs_that_describe_no_model(packed, change, message):
    path = packed / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        SeparateAV.from_pretrained(packed)


def test_a_config_that_is_no_text(packed):
    (packed / "config.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="not valid YAML"):
        SeparateAV.from_pretrained(packed)


class Evil:
    def __reduce__(self):
        return (open, ("written", "w"))


def test_pickles_are_refused(packed, tmp_path, monkeypatch):
    """Weights that would run code: in a zip file whose every entry looks right."""
    monkeypatch.chdir(tmp_path)
    torch.save({"separator.x": Evil()}, packed / "valid.si_sdr_i.best.pth")
    archive = zip_folder(packed, tmp_path / "m.zip")
    with pytest.raises(InputError, match="cannot be read as a file of weights") as e:
        SeparateAV.from_pretrained(archive)
    assert not (tmp_path / "written").exists()
    # torch's own message advises to load it all the same.
    assert "weights_only" not in str(e.value)


def test_weights_that_would_grow(packed, tmp_path):
    import zipfile

    path = packed / "valid.si_sdr_i.best.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data/0", bytes(5 << 20))
    with pytest.raises(InputError, match="would unpack to 5242880 bytes"):
        read_state(path)


def test_weights_that_are_none(tmp_path):
    path = tmp_path / "a.pth"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(InputError, match="holds list"):
        read_state(path)
    torch.save({"model": {"a": torch.zeros(1)}, "epoch": 3}, path)
    with pytest.raises(InputError, match="model, epoch: no tensor"):
        read_state(path)
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 99)
    with pytest.raises(InputError, match="cannot be read as a file of weights"):
        read_state(tmp_path / "a.safetensors")


def test_other_files_of_a_model_that_a_user_may_give(packed, exp, tmp_path):
    expected = packed / "config.yaml"
    assert find_model(packed / "meta.yaml").config == expected
    with pytest.raises(InputError, match=f"file of weights.*the folder, {exp}"):
        find_model(exp / "valid.si_sdr_i.best.pth")
    # A packed model's folder, put into a zip file by hand.
    (tmp_path / "in").mkdir()
    folder = packed.rename(tmp_path / "in" / "my model")
    found = find_model(zip_folder(folder.parent, tmp_path / "m.zip"))
    assert found.config.read_bytes() == (exp / "config.yaml").read_bytes()
    assert found.config.parent.name == "my model"
    shutil.copytree(folder, folder.parent / "second")
    with pytest.raises(InputError, match=r"holds 2 meta\.yaml"):
        find_model(zip_folder(folder.parent, tmp_path / "two.zip"))


def test_archives_that_are_no_models(tmp_path, packed, cache):
    (packed / "meta.yaml").unlink()
    archive = zip_folder(packed, tmp_path / "m.zip")
    with pytest.raises(InputError, match=r"holds no meta\.yaml"):
        find_model(archive)
    for name, message in (("a.tar.gz", "only zip"), ("a.zip", "cannot be read")):
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(InputError, match=message):
            find_model(tmp_path / name)
    (tmp_path / "cache2").write_text("a file where the cache should be")
    with pytest.raises(InputError, match="ESPNET2_AVSEP_CACHE"):
        find_model(archive, cache_dir=tmp_path / "cache2")


@pytest.mark.parametrize(
    "name",
    [
        *("exp/avsep_typo", "my/typo", "./a/b", "/no/such", "a/b/c", "ab"),
        *("a/b.zip", "a/config.yaml", "a/b.pth"),
    ],
)
def test_mistyped_paths_are_not_looked_for_on_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    monkeypatch.setattr(source.hub, "fetch", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match=f"{name}: no such file or folder"):
        find_model(name)


def test_hub(packed, monkeypatch, tmp_path):
    import huggingface_hub

    calls = []

    def snapshot_download(repo_id, **options):
        calls.append((repo_id, options["revision"], options["cache_dir"]))
        assert "*.py" not in options["allow_patterns"]
        return str(packed)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    separate = SeparateAV.from_pretrained("user/model", revision="v1")
    assert separate.train_config == packed / "config.yaml"
    assert find_model("hf:user/model", cache_dir="c").origin == "hf:user/model"
    assert calls == [("user/model", "v1", None), ("user/model", None, "c")]
    with pytest.raises(InputError, match="expected the name of a repository"):
        find_model("hf:../model")


def test_hub_without_network(monkeypatch, tmp_path):
    """The hub's own client, told to stay offline."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no/model.*HF_HUB_OFFLINE is set"):
        find_model("hf:no/model", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("RepositoryNotFoundError", 401, "no such repository"),
        ("GatedRepoError", 403, "on demand"),
        ("RevisionNotFoundError", 404, "no such revision"),
        ("LocalEntryNotFoundError", None, "no network"),
        ("ConnectError", None, "no network"),
        ("HfHubHTTPError", 403, "the token is missing"),
        ("HfHubHTTPError", 500, "sorry"),
    ],
)
def test_what_the_hub_may_answer(monkeypatch, name, status, message):
    import huggingface_hub

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    error = type(name, (Exception,), {})("sorry\nmore")
    if status:
        error.response = types.SimpleNamespace(status_code=status)

    def snapshot_download(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(InputError, match=message) as caught:
        find_model("hf:user/model", revision="r2")
    assert "user/model, revision r2" in str(caught.value)
    assert "more" not in str(caught.value)


def test_model_zoo(packed, tmp_path, monkeypatch, exp):
    archive = zip_folder(packed, tmp_path / "z.zip")

    class ModelDownloader:
        def __init__(self, cachedir=None):
            assert cachedir is None

        def query(self, key, name):
            return ["it"] if name == "it" else []

        def download(self, name, quiet):
            return str(archive)

    module = types.ModuleType("espnet_model_zoo.downloader")
    module.ModelDownloader = ModelDownloader
    monkeypatch.setitem(
        sys.modules, "espnet_model_zoo", types.ModuleType("espnet_model_zoo")
    )
    monkeypatch.setitem(sys.modules, "espnet_model_zoo.downloader", module)
    expected = tracks(SeparateAV.from_pretrained(exp))
    np.testing.assert_array_equal(
        tracks(SeparateAV.from_pretrained("zoo:it")), expected
    )
    with pytest.raises(InputError, match="not in espnet_model_zoo's table"):
        find_model("zoo:other")
    ModelDownloader.query = lambda *_, **__: 1 / 0
    with pytest.raises(InputError, match="zoo:it: cannot be fetched"):
        find_model("zoo:it")


def test_model_zoo_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "espnet_model_zoo", None)
    monkeypatch.setitem(sys.modules, "espnet_model_zoo.downloader", None)
    with pytest.raises(InputError, match="pip install espnet_model_zoo"):
        find_model("zoo:it")
