"""Two processes on a CPU train as one process with the same batches does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from espnet2_avsep.bin.train.train import main
from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus, train_command

REPOSITORY = Path(__file__).parents[2]


def losses(log: str) -> list:
    return [
        float(x) for x in re.findall(r"\[(?:train|valid)\].*?, loss=([0-9.e+-]+)", log)
    ]


def test_two_processes_equal_one(tmp_path, caplog):
    corpus = make_tiny_corpus(tmp_path / "corpus")
    config = tmp_path / "train.yaml"
    # Plain gradient steps: Adam would blow up rounding errors of gradients near zero.
    options = {
        **MODEL_OPTIONS,
        "optim": "sgd",
        "optim_conf": {"lr": 0.05},
        "num_iters_per_epoch": 3,
        "num_att_plot": 0,
        "log_interval": 1,
    }
    config.write_text(yaml.safe_dump(options))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(name: str, *more: str) -> subprocess.Popen:
        argv = train_command(corpus, config, tmp_path / name, *more)
        return subprocess.Popen(
            [sys.executable, "-m", "espnet2_avsep.bin.avsep_train", *argv],
            cwd=REPOSITORY,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    several = [
        start(
            "two",
            *("--multiprocessing_distributed", "false", "--dist_backend", "gloo"),
            *("--dist_world_size", "2", "--dist_rank", str(rank)),
            *("--dist_init_method", f"file://{tmp_path}/init"),
        )
        for rank in range(2)
    ]
    logs = [process.communicate(timeout=300)[1] for process in several]
    assert [process.returncode for process in several] == [0, 0], logs[0] + logs[1]

    caplog.set_level("INFO")
    assert main(train_command(corpus, config, tmp_path / "one")) == 0
    expected = losses(caplog.text)
    assert len(expected) == 4  # train and valid of two epochs
    torch.testing.assert_close(losses(logs[0]), expected, atol=1e-5, rtol=1e-5)
    weights = [
        torch.load(tmp_path / name / "2epoch.pth", weights_only=True)
        for name in ("one", "two")
    ]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-5, rtol=1e-5)
