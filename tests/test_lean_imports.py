"""Importing ESPnet: no network, and nothing that separation does not need."""

import json
import subprocess
import sys

import pytest

from espnet2_avsep import lean_imports

PROGRAM = """
import importlib, json, pkgutil, socket, sys
tried = []

def refuse(*words, **options):
    tried.append(str(words[-1]))
    raise OSError("the network is not there")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.gethostbyname = refuse
import espnet2_avsep
for module in pkgutil.walk_packages(espnet2_avsep.__path__, "espnet2_avsep."):
    importlib.import_module(module.name)
heavy = ["g2p_en", "nltk", "inflect", "transformers", "wandb", "setuptools"]
loaded = [name for name in heavy if name in sys.modules]
from espnet2.text.cleaner import TextCleaner
cleaned = TextCleaner("tacotron")("3 mics")
import wandb
print(json.dumps([tried, loaded, cleaned, wandb.__name__]))
"""


def test_a_deferred_module_may_be_used_at_once(monkeypatch):
    monkeypatch.setattr(lean_imports, "DEFERRED", ("colorsys",))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with lean_imports.lean_imports():
        import colorsys

        assert "rgb_to_hsv" not in vars(colorsys)
        assert colorsys.rgb_to_hsv(1, 1, 1) == (0, 0, 1)


LEAN_TORCH = """
import sys
from espnet2_avsep.lean_imports import import_lean_torch, without_compiler
import_lean_torch()
import torch
assert "torch._meta_registrations" not in sys.modules
assert "torch._decomp" not in sys.modules
with torch.device("meta"):
    torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.MultiheadAttention(4, 2))
with without_compiler():
    import torchvision
assert "torch._decomp" in sys.modules
import torch._dynamo
"""


def test_torch_without_meta_kernels_is_complete_when_they_are_needed():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LEAN_TORCH],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def steps_of_optimizers() -> list:
    """Train a layer with each optimizer; return its weights."""
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        optimizer = kind(layer.parameters(), lr=0.1)
        for _ in range(2):
            layer(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        again = kind(layer.parameters(), lr=0.2)
        again.load_state_dict(optimizer.state_dict())
        assert again.param_groups[0]["lr"] == 0.1
    return layer.weight.tolist()


WITHOUT_COMPILER = """
import json, sys
from espnet2_avsep.lean_imports import defer_compiler
from tests.test_lean_imports import steps_of_optimizers
defer_compiler()
weights = steps_of_optimizers()
assert "torch._dynamo.utils" not in sys.modules
from torch._dynamo.utils import is_compile_supported
assert sys.modules["torch"]._dynamo.config.suppress_errors is False
print(json.dumps(weights))
"""


def test_optimizers_do_the_same_without_the_compiler():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_COMPILER],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == steps_of_optimizers()


@pytest.fixture(scope="module")
def found():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_no_import_of_ours_tries_the_network(found):
    assert found[0] == []


def test_what_separation_does_not_need_is_not_imported(found):
    assert found[1] == []


def test_what_was_deferred_works_when_it_is_used(found):
    assert found[2:] == ["THREE MICS", "wandb"]
