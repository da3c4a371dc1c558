"""A lock on a folder, so that two programs do not write into it."""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from pathlib import Path
from typing import Iterator

from espnet2_avsep.data.tables.scp import PathLike
from espnet2_avsep.errors import InputError

NAME = ".lock"


@contextlib.contextmanager
def lock_folder(
    folder: PathLike, what: str, option: str = "--avsep_tag or --output_dir"
) -> Iterator[None]:
    """Hold a folder's lock; the operating system releases it if the process is killed.

    It is a lock of this process (POSIX), which forked data workers do not inherit. A
    process that the holder has started to do the work may take it for its own.

    Args:
        folder: Made where missing. Its file ``.lock`` says who holds the lock.
        what: What this process does there, for the message of another one.
        option: What names another folder, for the message.

    Raises:
        InputError: another process holds the lock.
    """
    path = Path(folder) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as f:
        held_for_us = False
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                f.seek(0)
                holder = f.read().strip()
                parent = f"pid {os.getppid()} on {socket.gethostname()},"
                held_for_us = parent in holder
                if not held_for_us:
                    raise InputError(
                        f"{folder} is in use by {holder or 'another process'}. Wait "
                        f"for its end or stop it, or use another folder ({option})."
                    ) from None
            else:
                logging.warning(f"{path}: cannot be locked ({error.strerror}).")
        if not held_for_us:
            f.truncate(0)
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            host = socket.gethostname()
            f.write(f"{what}, pid {os.getpid()} on {host}, since {now}\n")
            f.flush()
        yield
