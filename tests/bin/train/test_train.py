"""Errors of a training whose cause is known."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet2_avsep.bin import avsep_train
from espnet2_avsep.bin.train.train import explain
from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus, train_command

# Trains with data workers, of which one is killed, as for want of memory.
KILL_WORKER = """
import multiprocessing, os, signal, sys, threading, time
from espnet2_avsep.bin.train.train import main

def kill():
    while not multiprocessing.active_children():
        time.sleep(0.01)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

threading.Thread(target=kill, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_data_worker(tmp_path):
    corpus = make_tiny_corpus(tmp_path / "corpus")
    config = tmp_path / "train.yaml"
    options = {"num_iters_per_epoch": 400, "num_workers": 1, "num_att_plot": 0}
    config.write_text(yaml.safe_dump({**MODEL_OPTIONS, **options}))
    argv = train_command(corpus, config, tmp_path / "exp")
    result = subprocess.run(
        [sys.executable, "-c", KILL_WORKER, *argv],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2, result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("error: a data worker was killed, most likely because")
    assert "memory" in line and signal.SIGKILL.name[3:].lower() in line.lower()
    assert "Traceback" not in result.stderr


def test_a_finished_training_imports_nothing_of_espnet_again(tmp_path, monkeypatch):
    corpus = make_tiny_corpus(tmp_path / "corpus")
    config, exp = tmp_path / "train.yaml", tmp_path / "exp"
    config.write_text(yaml.safe_dump(MODEL_OPTIONS))
    argv = [*train_command(corpus, config, exp), "--resume", "true"]
    trained = []

    def train(argv):
        trained.append(argv)
        (exp / "checkpoint.pth").write_bytes(b"x" * len(trained))

    monkeypatch.setattr(avsep_train, "_train", train)
    for _ in range(2):
        avsep_train.main(argv)
    assert trained == [argv]
    more = [*argv, "--max_epoch", "9"]
    avsep_train.main(more)
    assert trained == [argv, more]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It", "--shm-size"),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", "out of memory"),
        ("CUDA out of memory. Tried to allocate 2 GiB", "--batch_size"),
        ("[enforce fail at inline_container.cc:1] . unexpected", "disk space"),
        (
            "-- Process 1 terminated with the following error:\nTraceback (most recent "
            "call last):\n  File x\nespnet2_avsep.errors.InputError: a.wav: is gone",
            "a.wav: is gone",
        ),
    ],
)
def test_what_is_explained(text, found):
    assert found in explain(text)
    assert "Traceback" not in explain(text)


def test_what_is_not_explained():
    assert explain("Caught RuntimeError in DataLoader worker process 0.") is None
