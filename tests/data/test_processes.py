"""Work that is shared by a few processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from espnet2_avsep.data.processes import map_in_processes
from espnet2_avsep.errors import InputError


def square(number):
    time.sleep(0.02 * (3 - number % 4))  # later tasks end first
    return number**2, os.getpid()


def fail(number):
    if number == 1:
        raise InputError("1 cannot be used")
    time.sleep(600)


def be_killed(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


@pytest.mark.parametrize(
    ("nj", "start"), [(1, "fork"), (3, "fork"), (100, "fork"), (2, "spawn")]
)
def test_results_come_in_the_order_of_the_tasks(nj, start):
    found = list(map_in_processes(square, range(9), nj, start))
    assert [value for value, _ in found] == [n**2 for n in range(9)]
    pids = {pid for _, pid in found}
    assert (pids == {os.getpid()}) == (nj == 1) and len(pids) <= nj


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("work", "message"),
    [(fail, "1 cannot be used"), (be_killed, "one of 2 processes was killed")],
)
def test_an_error_and_a_killed_process_end_all(work, message, start):
    """multiprocessing.Pool waits for ever for what a killed process had to do."""
    begin = time.monotonic()
    with pytest.raises(InputError, match=message):
        list(map_in_processes(work, [1, 0, 2], 2, start))
    assert time.monotonic() - begin < 300


PARENT = """
import sys, time
from espnet2_avsep.data.processes import map_in_processes

def sleep(number):
    print("begun", flush=True)
    time.sleep(60)
    print("ended by itself", flush=True)

list(map_in_processes(sleep, [0, 1], 2))
"""


def test_processes_end_with_a_killed_parent():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert [parent.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        parent.kill()
        # The pipe ends when nobody can write into it.
        assert parent.stdout.readline() == ""
