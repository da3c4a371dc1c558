import sys

import numpy as np
import pytest
import scipy.signal
import torch

from espnet2_avsep import SeparateAV
from espnet2_avsep.bin import avsep
from espnet2_avsep.errors import InputError
from espnet2_avsep.sharing.onnx_export import export_onnx
from tests.support.tiny_corpus import DIM, HOP, N_FFT
from tests.support.trained_model import make_trained_folder

U_NET = {"visual_dim": DIM, "channels": 4, "layers": 3, "width": 4}
OURS = {"visual_dim": DIM, "num_bins": 64, "channels": [4, 8], "blocks": 1}
OURS.update(convs=1, patch=4, width=4, competition=True, profile=2, presence=2)

CCOL = {"visual_dim": DIM, "channels": 4, "layers": 3, "maps": 4}
CCOL.update(grounding_channels=2)


@pytest.mark.parametrize(
    ("name", "conf", "model_conf"),
    [
        ("hfra", U_NET, {"num_log_bins": 48}),
        ("hfra", {**U_NET, "fusion": "late"}, {"compression": "log1p"}),
        # A trained BatchNorm does not leave zeros as they are: padding comes behind it.
        (
            "tfc_tdf",
            OURS,
            {"num_log_bins": None, "compression": "power", "stft_padding": "zeros"},
        ),
        # Its training phase was taken for TFC-TDF's phase of the masks.
        ("ccol", CCOL, {"num_log_bins": 48, "compression": "log1p"}),
    ],
    ids=["hierarchical", "clipsep_late", "tfc_tdf", "ccol"],
)
def test_tracks_by_onnxruntime_equal_pytorch_s(tmp_path, name, conf, model_conf):
    """The lines of the docs, with other numbers of samples and sources."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = make_trained_folder(
        tmp_path / "exp", separator=name, separator_conf=conf, model_conf=model_conf
    )
    train(model / "valid.si_sdr_i.best.pth")
    path = str(tmp_path / "model.onnx")
    assert avsep.main(["export-onnx", str(model), "--out", path]) == 0
    separate = SeparateAV.from_pretrained(model)
    rng = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert told["weights_sha256"] == separate.weights_sha256
    assert (told["n_fft"], told["hop_length"]) == (str(N_FFT), str(HOP))
    boundary = {"reflect": "even", "zeros": "zeros"}[told["stft_padding"]]
    for sources, frames in ((1, 31), (3, 200.4)):
        x = rng.normal(size=int(frames * HOP)).astype(np.float32) / 10
        queries = rng.normal(size=(sources, DIM)).astype(np.float32)
        stft = {"nperseg": N_FFT, "noverlap": N_FFT - HOP}
        spectrum = scipy.signal.stft(x, **stft, boundary=boundary, padded=False)[2]
        magnitude = np.abs(spectrum * (N_FFT / 2)).astype(np.float32)
        given = {"magnitude": magnitude, "queries": queries}
        mask, *imaginary = session.run(None, given)
        if imaginary:
            mask = mask + 1j * imaginary[0]
        tracks = scipy.signal.istft(mask * spectrum, **stft)[1]
        expected = separate(x, list(queries))
        assert np.std(expected) > 1e-3
        whole = len(x) // HOP * HOP  # samples behind the last hop are not in them
        assert tracks.shape == (sources, whole)
        np.testing.assert_allclose(tracks, expected[:, :whole], atol=1e-5)


def train(weights):
    """Leave no norm, no bias and no small last layer as it is at the beginning."""
    state = torch.load(weights, weights_only=True)
    generator = torch.Generator().manual_seed(0)
    for name, value in state.items():
        if name.startswith("separator.") and value.dim() == 1:
            value += torch.rand(value.shape, generator=generator)
        elif name.endswith("unpatch.weight"):
            value *= 50
    torch.save(state, weights)


def test_missing_package_is_named(tmp_path, monkeypatch):
    separate = SeparateAV.from_pretrained(make_trained_folder(tmp_path / "exp"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"package onnx: pip install 'espnet2_avsep\["):
        export_onnx(separate.model, tmp_path / "model.onnx", {})
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("part", "name", "value", "reason"),
    [
        ("separator", "needs_labels", True, "classes"),
        ("separator", "needs_motion", True, "motion"),
        ("separator", "sees_magnitude", True, "one source after the other"),
        ("visual_adapter", "takes_frames", True, "pictures, not embeddings"),
        (None, "warp", None, "without masks"),
    ],
)
def test_models_that_a_graph_does_not_take(tmp_path, part, name, value, reason):
    model = SeparateAV.from_pretrained(make_trained_folder(tmp_path / "exp")).model
    if part is None:
        del model.warp
    else:
        setattr(getattr(model, part), name, value)
    with pytest.raises(InputError, match=reason):
        export_onnx(model, tmp_path / "model.onnx", {})


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = make_trained_folder(
        tmp_path / "exp", separator_conf={**U_NET, "layers": 2, "fusion": "late"}
    )
    model = SeparateAV.from_pretrained(folder).model
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(
        onnxruntime.InferenceSession,
        "run",
        lambda self, *given: [mask + 2e-4 for mask in run(self, *given)],
    )
    with pytest.raises(InputError, match="differ from PyTorch's by 0.0002"):
        export_onnx(model, tmp_path / "model.onnx", {})
    assert not (tmp_path / "model.onnx").exists()
    assert torch.is_grad_enabled()
