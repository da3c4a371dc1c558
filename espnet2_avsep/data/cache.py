"""Where the package keeps what it has fetched or unpacked."""

import os
from pathlib import Path


def cache_dir(kind: str) -> Path:
    """``$ESPNET2_AVSEP_CACHE/<kind>``, or ``~/.cache/espnet2_avsep/<kind>``."""
    root = os.environ.get("ESPNET2_AVSEP_CACHE") or "~/.cache/espnet2_avsep"
    return Path(root).expanduser() / kind
