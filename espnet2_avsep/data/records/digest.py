"""The SHA-256 of a file."""

import hashlib
import os
from pathlib import Path
from typing import Union


def file_sha256(path: Union[str, "os.PathLike[str]"]) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
