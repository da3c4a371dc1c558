"""The device that an option --device means."""

import pytest
import torch

from espnet2_avsep.device import choose_device
from espnet2_avsep.errors import InputError


def test_devices_of_this_machine():
    assert choose_device("cpu") == torch.device("cpu")
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto") == torch.device(wanted)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:-1", "mps", "cpu:0"])
def test_other_names_are_errors(name):
    with pytest.raises(InputError, match="expected auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_a_gpu_that_is_not_there(monkeypatch):
    def fail(*size, device):
        raise RuntimeError("No CUDA GPUs are available. See the manual.")

    monkeypatch.setattr(torch, "empty", fail)
    message = (
        r"--device cuda:3: cannot be used here: No CUDA GPUs are available\. Choose"
    )
    with pytest.raises(InputError, match=message):
        choose_device("cuda:3")
