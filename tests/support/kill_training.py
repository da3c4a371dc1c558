"""Kill a training again and again; it must end with the weights of one never killed.

    python -m tests.kill_training --kills 100 --folder DIR

Half of the kills come at a random time, the others while torch.save writes, after a
random share of the file. SIGKILL each time: nothing can be tidied up. The training is
the tiny one of the tests, on a CPU. A stopped run continues in the same folder.
"""

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Callable, Optional

import torch
import torch._dynamo  # optimizers import it; here once for all processes
import yaml

from espnet2_avsep.bin.train.train import main as train
from espnet2_avsep.tasks.avsep import AVSeparationTask  # noqa: F401  # before any fork
from tests.support.tiny_corpus import MODEL_OPTIONS, make_tiny_corpus, train_command

EPOCHS = 4
OPTIONS = {
    **MODEL_OPTIONS,
    "max_epoch": EPOCHS,
    "num_iters_per_epoch": 2,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "keep_nbest_models": [2, 3],
    "best_model_criterion": [["valid", "loss", "min"], ["valid", "si_sdr", "max"]],
}


def kill_in_save(number: int, share: float) -> None:
    """Let this process die in its number-th torch.save, after a share of the file."""
    save, calls = torch.save, []

    def cut_off(content, target) -> None:
        calls.append(target)
        if len(calls) < number:
            save(content, target)
            return
        whole = io.BytesIO()
        save(content, whole)
        part = whole.getvalue()[: int(share * whole.tell())]
        if hasattr(target, "write"):
            target.write(part)
            target.flush()
        else:
            Path(target).write_bytes(part)
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = cut_off


def start(folder: Path, exp: Path, before: Callable[[], None], after: Optional[float]):
    """Train in a process of its own; return its wait status.

    Args:
        folder: Of corpus and configuration.
        exp: Where to train.
        before: Called in the process before it trains.
        after: Seconds after which it is killed.
    """
    child = os.fork()
    if child == 0:
        with (folder / "train.log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            before()
            argv = train_command(folder / "corpus", folder / "train.yaml", exp)
            os._exit(train([*argv, "--resume", "true"]))
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def all_weights(exp: Path) -> dict:
    """Read the weights of all files that a finished training leaves."""
    names = sorted(path.name for path in exp.glob("*.pth"))
    names = [name for name in names if not name.startswith("checkpoint")]
    return {name: torch.load(exp / name, weights_only=True) for name in names}


def check_equal(found: dict, expected: dict) -> None:
    """Exit unless two trainings left the same files with the same weights."""
    if found.keys() != expected.keys():
        sys.exit(f"files differ: {sorted(found)}, {sorted(expected)}")
    for name, weights in expected.items():
        for key, value in weights.items():
            if not torch.equal(found[name][key], value):
                sys.exit(f"{name}: {key} differs from the training never killed")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder, state_file = args.folder, args.folder / "state.json"
    folder.mkdir(parents=True, exist_ok=True)
    state = {"kills": 0, "in_save": 0, "trainings": 0, "seconds": 0.0}
    if state_file.exists():
        state = json.loads(state_file.read_text())
    else:
        make_tiny_corpus(folder / "corpus")
        (folder / "train.yaml").write_text(yaml.safe_dump(OPTIONS))
        begin = time.monotonic()
        if start(folder, folder / "whole", lambda: None, None) != 0:
            sys.exit(f"the training failed, see {folder / 'train.log'}")
        state["seconds"] = time.monotonic() - begin
    expected = all_weights(folder / "whole")
    while state["kills"] < args.kills:
        rng = random.Random(f"{args.seed} {state['kills']} {state['trainings']}")
        exp = folder / f"killed_{state['trainings']}"
        in_save = rng.random() < 0.5
        number, share = rng.randint(1, 4), rng.random()
        if in_save:
            status = start(
                folder, exp, lambda n=number, s=share: kill_in_save(n, s), None
            )
        else:
            after = rng.uniform(0, state["seconds"])
            status = start(folder, exp, lambda: None, after)
        if os.WIFSIGNALED(status):
            state["kills"] += 1
            state["in_save"] += in_save
        elif status != 0:
            sys.exit(f"kill {state['kills']}: no restart, see {folder / 'train.log'}")
        else:
            check_equal(all_weights(exp), expected)
            state["trainings"] += 1
        state_file.write_text(json.dumps(state))
    exp = folder / f"killed_{state['trainings']}"
    if start(folder, exp, lambda: None, None) != 0:
        sys.exit(f"the last training failed, see {folder / 'train.log'}")
    check_equal(all_weights(exp), expected)
    print(
        f"{state['kills']} kills survived, {state['in_save']} of them while a file was "
        f"written; {state['trainings'] + 1} trainings ended with the weights of one "
        "that was never killed."
    )


if __name__ == "__main__":
    main()
