"""What holds for every test: no network, fixed seeds, one thread, no window.

There is no mark that leaves tests out: whatever is slow is made smaller. Nothing heavy
is imported here, so that tests without torch start at once.
"""

import gc
import os
import random
import signal
import socket
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Before torch, matplotlib and the hub client are imported, and for child processes.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Workers that import librosa at once must not compile into one cache: see
# espnet2_avsep/environment.py.
_worker = os.environ.get("PYTEST_XDIST_WORKER")
if _worker:
    _cache = REPOSITORY / ".pytest_cache" / "numba" / _worker
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache))
# What the user has set for commands is not for their tests.
for _name in ("AVSEP_MODEL", "AVSEP_DEBUG"):
    os.environ.pop(_name, None)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# A runner started in the background or under nohup ignores these, and so would every
# child process; tests that stop jobs need them as a terminal has them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Workers of `pytest -n auto` hold torch, ESPnet and small models.
MEBIBYTES_A_WORKER = 2000
# All workers begin with the longest files, so that they end together.
LONGEST_FIRST = (
    *("test_shell_avsep.py", "test_corpora.py", "test_mini_recipe.py"),
    *("test_music_mini.py", "test_shell_table.py", "test_scale.py"),
    *("test_tuning_configs.py", "test_avsep_task.py", "test_every_separator.py"),
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return as many workers as there are cores, if the memory suffices for them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return max(1, min(len(os.sched_getaffinity(0)), memory // MEBIBYTES_A_WORKER))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import the tests without a garbage collector, which then leaves them out.

    A million objects of modules live as long as the process: it would go through them
    again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    """Sort the tests by file: the longest first, else as they were collected."""
    order = {name: n for n, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Escape what is not UTF-8 in captured output; workers cannot send it."""
    report = yield
    report.sections = [tuple(map(_as_utf8, section)) for section in report.sections]
    if report.longrepr is not None and not isinstance(report.longrepr, tuple):
        text = str(report.longrepr)
        if text != _as_utf8(text):
            report.longrepr = _as_utf8(text)
    return report


def _as_utf8(text):
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@pytest.fixture
def fast_bfloat16(monkeypatch):
    """Compute in bfloat16 where it is asked for, even if the CPU emulates it."""
    from espnet2_avsep import precision

    monkeypatch.setattr(precision, "bfloat16_pays", lambda *_: True)


@pytest.fixture
def slow_bfloat16(monkeypatch):
    """Pretend that the CPU emulates bfloat16."""
    from espnet2_avsep import precision

    monkeypatch.setattr(precision, "bfloat16_pays", lambda *_: False)


@pytest.fixture
def without_initial_values(monkeypatch):
    """Leave new weights as they are: drawing them is most of building a network."""
    from torch.nn import init

    for name in vars(init):
        if name.endswith("_") and not name.startswith("_"):
            monkeypatch.setattr(init, name, lambda tensor, *_, **__: tensor)


@pytest.fixture(autouse=True)
def _fixed_seeds():
    """Seed every generator whose library is there; restore nothing."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Let connections reach this machine only."""
    connect = socket.socket.connect

    def local_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise OSError(f"a test tried to connect to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_connect)


@pytest.fixture
def av1_encoder(monkeypatch):
    """The name of an AV1 encoder, which is silent and leaves the process as it was.

    As root, SVT-AV1 4.1 makes the calling thread a real-time one (SCHED_FIFO, priority
    99), and so all processes that it starts later: nothing else on the machine runs.
    """
    monkeypatch.setenv("SVT_LOG", "0")
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    yield "libsvtav1"
    os.sched_setscheduler(0, policy, parameters)
