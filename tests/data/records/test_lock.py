"""One program at a time in a folder."""

import os
import signal
import subprocess
import sys
import time

import pytest

from espnet2_avsep.data.records.lock import lock_folder
from espnet2_avsep.errors import InputError

# Holds the lock, and forks as a DataLoader does.
HOLD = """
import os, sys, time
from espnet2_avsep.data.records.lock import lock_folder
with lock_folder(sys.argv[1], "a training"):
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)  # its child, too
    process.stdout.close()
    process.wait()


def test_the_second_is_refused_by_name(holder, tmp_path):
    with (
        pytest.raises(
            InputError, match=f"a training, pid {holder.pid} on {os.uname()[1]}"
        ),
        lock_folder(tmp_path, "a training"),
    ):
        pass


def test_a_killed_holder_leaves_no_lock_although_its_children_live(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    begin = time.monotonic()
    with lock_folder(tmp_path, "a training"):
        assert f"pid {os.getpid()} " in (tmp_path / ".lock").read_text()
    assert time.monotonic() - begin < 300  # its child ends after 600 s
    with lock_folder(tmp_path, "a training"):
        assert (tmp_path / ".lock").read_text().count("\n") == 1


def test_a_process_that_the_holder_has_started_works_under_its_lock(tmp_path):
    """Several GPUs: ESPnet trains in processes that avsep_train starts."""
    code = (
        "import sys\nfrom espnet2_avsep.data.records.lock import lock_folder\n"
        "with lock_folder(sys.argv[1], 'a training'): print('held')"
    )
    run = [sys.executable, "-c", code, str(tmp_path)]
    with lock_folder(tmp_path, "a training"):
        done = subprocess.run(run, capture_output=True, text=True)
        assert done.stdout == "held\n", done.stderr
        stranger = subprocess.run(
            ["sh", "-c", '"$@"; exit', "sh", *run], capture_output=True, text=True
        )
        assert f"is in use by a training, pid {os.getpid()} on" in stranger.stderr
