import hashlib
import http.server
import logging
import pickle
import threading
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from espnet2_avsep.data import fetch
from espnet2_avsep.errors import InputError
from espnet2_avsep.teacher import clap_checkpoint
from espnet2_avsep.teacher.clap_checkpoint import find_checkpoint, read_audio_state
from espnet2_avsep.teacher.clap_teacher import ClapTeacher
from espnet2_avsep.teacher.htsat import build_htsat

TINY = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
NAME = "630k-audioset-best.pt"


@pytest.fixture(scope="module")
def state() -> dict:
    """A laion_clap state dict in miniature: both towers, and what lies beside them."""
    htsat = build_htsat("HTSAT-tiny", htsat_conf=TINY)
    projection = torch.nn.Sequential(
        torch.nn.Linear(192, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512)
    )
    return {
        "logit_scale_a": torch.tensor(1.0),
        **{f"audio_branch.{k}": v for k, v in htsat.state_dict().items()},
        **{f"audio_projection.{k}": v for k, v in projection.state_dict().items()},
        "text_branch.embeddings.position_ids": torch.arange(3)[None],
        "text_projection.0.weight": torch.zeros(2, 2),
        "audio_transform.sequential.0.weight": torch.zeros(2, 2),
    }


def wrapped(state: dict) -> dict:
    return {
        "epoch": np.int64(15),
        "best": np.float64(0.9),
        "name": "clap",
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "optimizer": {"param_groups": [{"lr": np.float32(0.1)}]},
    }


def rename_in_pickle(path, old: bytes, new: bytes) -> None:
    """Rewrite a PyTorch file with another name for one of its globals."""
    with zipfile.ZipFile(path) as f:
        parts = [(info.filename, f.read(info)) for info in f.infolist()]
    assert any(old in data for name, data in parts if name.endswith("data.pkl"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as f:
        for name, data in parts:
            f.writestr(name, data.replace(old, new) if "data.pkl" in name else data)


def save(state: dict, path, layout: str) -> None:
    if layout == "plain":
        torch.save(state, path)
    elif layout == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif layout == "safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(wrapped(state), path)
    if layout == "numpy 1":
        rename_in_pickle(path, b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.mark.parametrize(
    "layout", ["laion", "numpy 1", "plain", "legacy", "safetensors"]
)
def test_layouts_load_the_audio_branch_alone(state, tmp_path, caplog, layout):
    path = tmp_path / ("clap.safetensors" if layout == "safetensors" else "clap.pt")
    save(state, path, layout)
    with caplog.at_level(logging.INFO):
        teacher = ClapTeacher(str(path), htsat_conf=TINY)
    assert np.dtype not in torch.serialization.get_safe_globals()
    assert "2 of the text tower and 2 others ignored" in caplog.text
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert teacher.description == f"HTSAT-tiny, {path.name}, sha256 {digest}"
    for key, value in teacher.htsat.state_dict().items():
        assert torch.equal(value, state[f"audio_branch.{key}"]), key
    for key, value in teacher.projection.state_dict().items():
        assert torch.equal(value, state[f"audio_projection.{key}"]), key
    assert not list(tmp_path.glob("*.sha256"))


def test_teacher_keeps_no_hold_on_the_file(state, tmp_path):
    """The tensors are copies: the file may go, or change, while training runs."""
    path = tmp_path / "clap.pt"
    torch.save(wrapped(state), path)
    teacher = ClapTeacher(str(path), htsat_conf=TINY)
    expected = teacher(torch.ones(1, 4800), 48000)
    path.write_bytes(b"")
    assert torch.equal(teacher(torch.ones(1, 4800), 48000), expected)


def test_state_must_fit_strictly(state, tmp_path):
    path = tmp_path / "clap.pt"
    broken = dict(state)
    del broken["audio_branch.bn0.weight"]
    broken["audio_branch.extra"] = torch.zeros(1)
    broken["audio_branch.norm.bias"] = torch.zeros(7)
    torch.save(broken, path)
    with pytest.raises(InputError) as error:
        ClapTeacher(str(path), htsat_conf=TINY)
    for part in (
        str(path),
        "1 missing: bn0.weight",
        "1 unexpected: extra",
        "norm.bias is (7,), expected (192,)",
        "enable_fusion",
    ):
        assert part in str(error.value)


def test_missing_projection_is_named(state, tmp_path):
    path = tmp_path / "clap.pt"
    kept = {k: v for k, v in state.items() if not k.startswith("audio_projection")}
    torch.save(kept, path)
    with pytest.raises(InputError, match="audio_projection does not fit: 4 missing"):
        ClapTeacher(str(path), htsat_conf=TINY)


class Harm:
    def __reduce__(self):
        return (print, ("harm",))


def test_files_that_are_no_checkpoint(tmp_path, capsys):
    path = tmp_path / "clap.pt"
    cases = {
        "empty": b"",
        "text": b"<html>not found</html>",
        "pickle": pickle.dumps(Harm(), protocol=2),
    }
    for name, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match="clap.pt"):
            read_audio_state(path)
        assert capsys.readouterr().out == "", name
    torch.save({"state_dict": Harm()}, path)
    with pytest.raises(InputError, match="hold more than tensors"):
        read_audio_state(path)
    assert capsys.readouterr().out == ""
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="no tensors named audio_branch.*weight"):
        read_audio_state(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="holds list"):
        read_audio_state(path)
    torch.save({"state_dict": {"audio_branch.w": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="incomplete"):
        read_audio_state(path)
    path = tmp_path / "clap.safetensors"
    path.write_bytes(b"abc")
    with pytest.raises(InputError, match="safetensors"):
        read_audio_state(path)


def test_unknown_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.pt.*no such file.*random"):
        find_checkpoint("nowhere.pt", cache_dir=tmp_path)


def test_published_checkpoint_needs_its_model():
    with pytest.raises(
        InputError, match="needs model: HTSAT-base and enable_fusion: f"
    ):
        ClapTeacher("music_audioset_epoch_15_esc_90.14.pt")
    with pytest.raises(InputError, match="enable_fusion: true"):
        ClapTeacher("630k-fusion-best.pt")


def test_checksum_is_recorded_and_compared(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert find_checkpoint(NAME, cache_dir=tmp_path) == (path, digest)
    record = tmp_path / f"{NAME}.sha256"
    assert record.read_text() == f"{digest}  {NAME}\n"
    assert find_checkpoint(NAME, digest.upper(), tmp_path) == (path, digest)
    path.write_bytes(b"weightz")
    with pytest.raises(InputError, match=f"{digest} was recorded"):
        find_checkpoint(NAME, cache_dir=tmp_path)


def test_required_checksum_holds_for_local_files_too(tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    with pytest.raises(InputError, match="mine.pt.*the option checksum requires 00ff"):
        find_checkpoint(str(path), "00ff")


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPNET2_AVSEP_CACHE", str(tmp_path))
    assert clap_checkpoint.default_cache_dir() == tmp_path / "clap"
    monkeypatch.setenv("ESPNET2_AVSEP_CACHE", "")
    monkeypatch.setenv("HOME", "/home/someone")
    expected = "/home/someone/.cache/espnet2_avsep/clap"
    assert str(clap_checkpoint.default_cache_dir()) == expected


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub on this machine; set its ``content`` and ``length``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content, length = b"weights", None
        asked: list = []

        def do_GET(self):
            self.asked.append(self.path)
            self.send_response(200 if self.content else 404)
            length = len(self.content) if self.length is None else self.length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield Handler
    server.shutdown()
    server.server_close()


def test_published_checkpoint_is_downloaded_once(hub, tmp_path):
    hub.asked = []
    expected = (tmp_path / NAME, hashlib.sha256(b"weights").hexdigest())
    assert find_checkpoint(NAME, cache_dir=tmp_path) == expected
    assert find_checkpoint(NAME, cache_dir=tmp_path) == expected
    assert hub.asked == [f"/lukewys/laion_clap/resolve/main/{NAME}"]
    assert expected[0].read_bytes() == b"weights"


def test_broken_download_leaves_nothing(hub, tmp_path):
    hub.length = 1000
    with pytest.raises(InputError, match="broke after 7 of 1000 bytes"):
        find_checkpoint(NAME, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_download_error_names_url_folder_and_option(hub, tmp_path, monkeypatch):
    hub.content = b""
    with pytest.raises(InputError, match="404"):
        find_checkpoint(NAME, cache_dir=tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError) as error:
        find_checkpoint(NAME, cache_dir=tmp_path)
    for part in (
        f"http://127.0.0.1:9/lukewys/laion_clap/resolve/main/{NAME}",
        str(tmp_path / NAME),
        "ESPNET2_AVSEP_CACHE",
        "option checkpoint",
        "checkpoint: random",
    ):
        assert part in str(error.value)


def test_full_disk_is_told(hub, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "atomic_write", full)
    with pytest.raises(InputError, match="No space left on device"):
        find_checkpoint(NAME, cache_dir=tmp_path)


def test_offline_variable_is_heeded(hub, tmp_path, monkeypatch):
    hub.asked = []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        find_checkpoint(NAME, cache_dir=tmp_path)
    assert hub.asked == []
