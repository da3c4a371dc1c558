"""Importing ESPnet: no network, and nothing that separation does not need."""

import functools
import json
import subprocess
import sys

import pytest

from espnet2_avsep import lean_imports
from espnet2_avsep.cli.commands import COMMANDS
from tests.repository.test_imports import SOURCES, imports, own

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
heavy += ["scipy.signal"]
loaded = [name for name in heavy if name in sys.modules]
from espnet2.text.cleaner import TextCleaner
cleaned = TextCleaner("tacotron")("3 mics")
import wandb
import espnet2.train.preprocessor as preprocessor
convolved = preprocessor.scipy.signal.convolve([1, 2], [1, 1]).tolist()
print(json.dumps([tried, loaded, cleaned, wandb.__name__, convolved]))
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
parts = "torch.export torch.masked torch.distributions torch.quantization".split()
assert not [name for name in parts if name in sys.modules]
assert torch.distributions.Normal(0.0, 2.0).variance == 4
assert torch.distributions is sys.modules["torch.distributions"]
import torch.masked, torch.quantization
assert torch.masked.sum(torch.ones(2), mask=torch.tensor([True, False])) == 1
with torch.device("meta"):
    torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.MultiheadAttention(4, 2))
with without_compiler():
    import torchvision
assert "torch._decomp" in sys.modules
import torch._dynamo
assert torch.export.Dim("batch").__name__ == "batch"
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
from espnet2_avsep.lean_imports import defer_compiler, import_lean_torch
import_lean_torch()
from tests.test_lean_imports import steps_of_optimizers
defer_compiler()
weights = steps_of_optimizers()
assert "torch._dynamo.utils" not in sys.modules
from torch._dynamo.utils import is_compile_supported
assert "torch._meta_registrations" in sys.modules
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
    assert found[2:] == ["THREE MICS", "wandb", [1, 3, 2]]


HEAVY = {"torch", "torchaudio", "torchvision", "espnet2"}
# Commands that never import what takes seconds. The others compute with torch, or may.
TORCH_FREE = {
    *("score", "scoring", "made-from", "completion", "new-recipe", "download"),
    *("format-audio", "filter-clips", "make-mixtures", "make-real-mixtures"),
    *("health-report", "collect-stats", "upload", "fetch-model"),
}
# They name heavy packages in functions that the commands above do not call.
NOT_CALLED = {"registry", "lean_imports"}


@functools.cache
def imported_by(module: str) -> set:
    source = SOURCES.get(module) or SOURCES[f"{module}.__init__"]
    return imports(source, types=False)


def reachable(module: str) -> dict:
    """Return the modules of ours that a module may import -> what each imports."""
    found, waiting = {}, [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = imported_by(name)
            waiting += own(found[name])
    return found


def test_commands_that_are_free_of_torch():
    free = set()
    for name, command in COMMANDS.items():
        modules = reachable(command.module)
        names = {
            imported
            for module, imported_names in modules.items()
            if module not in NOT_CALLED
            for imported in imported_names
        }
        torch = "espnet2_avsep.lean_imports.import_lean_torch" in names
        if not torch and not HEAVY & {imported.split(".")[0] for imported in names}:
            free.add(name)
    assert free == TORCH_FREE


SCORE = """
import sys
for name in ("torch", "torchaudio", "torchvision", "espnet2"):
    sys.modules[name] = None  # importing it fails
from espnet2_avsep.bin.avsep import main
sys.exit(main(["score", "--json", *sys.argv[1:]]))
"""


def test_files_are_scored_without_torch(tmp_path):
    import numpy as np
    import soundfile

    references = np.random.default_rng(0).standard_normal((2, 4000)) / 10
    mixture = references.sum(axis=0)
    words = []
    for kind, signals in (
        ("reference", references),
        ("estimate", 0.9 * references + 0.1 * mixture),
        ("mixture", mixture[None]),
    ):
        words.append(f"--{kind}")
        for n, signal in enumerate(signals):
            words.append(str(tmp_path / f"{kind}{n}.wav"))
            soundfile.write(words[-1], signal, 8000, "FLOAT")
    result = subprocess.run(
        [sys.executable, "-c", SCORE, *words], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["mean"]
    assert found["si_sdr"] == pytest.approx(20, abs=0.5)  # gains 1 and 0.1
    assert found["si_sdr_i"] == pytest.approx(20, abs=0.5)
    assert found["sar"] > 100
