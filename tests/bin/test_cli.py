"""What every command line shares."""

import os
import subprocess
import sys

import pytest

from espnet2_avsep.bin.cli import command


@pytest.mark.parametrize(
    ("chosen", "policy"),
    [
        ({}, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "1000"}, None),
    ],
)
def test_commands_let_idle_threads_sleep_unless_the_user_has_chosen(
    monkeypatch, chosen, policy
):
    monkeypatch.setattr(os, "environ", dict(chosen))
    seen = []
    command(lambda argv: seen.append(os.environ.get("OMP_WAIT_POLICY")))([])
    assert seen == [policy]


def test_no_command_imports_torch_before_it_has_set_openmp():
    # OpenMP reads its settings once, when torch is first imported.
    program = (
        "import importlib, pkgutil, sys, espnet2_avsep.bin as b\n"
        "for m in pkgutil.iter_modules(b.__path__):\n"
        "    if m.name.startswith('avsep'):\n"
        "        importlib.import_module(f'espnet2_avsep.bin.{m.name}')\n"
        "print('torch' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
