"""Defaults for environments in which other packages fail to import.

In a container that runs as a numeric user (``docker run -u 12345``) or whose home is
read-only:

* torch (2.11, imported by torchvision) asks for the name of the user to name a cache
  folder, and raises KeyError where the user has none;
* numba (0.68, imported by librosa) raises "no locator available" where neither the
  package nor the home folder can be written;
* matplotlib warns and makes a new cache folder in every process.

``prepare_environment`` sets the variables that these packages read. It sets only what
is missing, and costs less than a millisecond. ``compiling_alone`` is for what numba
compiles.
"""

import contextlib
import fcntl
import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import Iterator

# What getpass.getuser() reads, in its order.
_USER_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def prepare_environment() -> None:
    """Give the user a name, and caches a folder that can be written."""
    uid = os.getuid()
    if not any(os.environ.get(name) for name in _USER_VARIABLES):
        try:
            pwd.getpwuid(uid)
        except KeyError:
            os.environ["USER"] = f"uid{uid}"
    caches = [
        name for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR") if name not in os.environ
    ]
    if caches and not _home_can_be_written():
        folder = _private_folder(Path(tempfile.gettempdir()), uid)
        for name in caches:
            os.environ[name] = str(folder / name.lower())


@contextlib.contextmanager
def compiling_alone() -> Iterator[None]:
    """Let one process of this user at a time compile functions with numba.

    librosa compiles while librosa.util.utils and what needs it are imported, and some
    functions where they are first called. Processes that compile the same functions
    into an empty cache at the same time can leave files that do not belong together
    (numba 0.68, librosa's pyin): from then on every process that loads them ends with a
    segmentation fault.
    """
    folder = _private_folder(Path(tempfile.gettempdir()), os.getuid())
    with open(folder / "numba.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        yield


def _home_can_be_written() -> bool:
    """Whether ~/.cache can be written, or made."""
    for folder in ("~/.cache", "~"):
        path = os.path.expanduser(folder)
        if os.path.isdir(path):
            return os.access(path, os.W_OK | os.X_OK)
    return False


def _private_folder(parent: Path, uid: int) -> Path:
    """Return a folder of this user only: numba's caches are executable code."""
    folder = parent / f"espnet2_avsep-{uid}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == uid
        if not mine or found.st_mode & 0o077:
            folder = Path(tempfile.mkdtemp(prefix="espnet2_avsep-", dir=parent))
    return folder
