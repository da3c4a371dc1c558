"""Fetch one file over HTTP: whole and verified, or not at all."""

import hashlib
import http.client
import logging
import urllib.request
from pathlib import Path
from typing import Optional

from espnet2_avsep.data.tables.scp import PathLike, atomic_write
from espnet2_avsep.errors import DISK_ERRORS


class FetchError(Exception):
    """A file that cannot be fetched; the message is the reason in one line."""


def fetch_file(
    url: str,
    path: PathLike,
    sha256_prefix: str = "",
    proxy: Optional[str] = None,
    timeout: float = 60.0,
) -> None:
    """Fetch a file. It appears at ``path`` only when it is complete.

    Args:
        url: Its address.
        path: Where it is written; the folder is made where it is missing.
        sha256_prefix: First digits of its SHA-256 in hexadecimal; empty: not verified.
        proxy: Address of a proxy for http and https; None: the environment's.
        timeout: Seconds without an answer before the attempt is given up.

    Raises:
        FetchError: no network, no such file, a download that was cut off, a wrong hash.
        OSError: the disk is full or read-only.
    """
    path = Path(path)
    handlers = []
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    logging.info("fetching %s to %s", url, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opener = urllib.request.build_opener(*handlers)
        with opener.open(url, timeout=timeout) as answer, atomic_write(path, "wb") as f:
            _copy(answer, f, path.name, sha256_prefix)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise FetchError(lines[0]) from error


def _copy(answer, f, name: str, sha256_prefix: str) -> None:
    total = int(answer.headers.get("Content-Length") or 0)
    size, shown, digest = 0, 0, hashlib.sha256()
    while chunk := answer.read(1 << 20):
        f.write(chunk)
        digest.update(chunk)
        size += len(chunk)
        if total and size < total and size * 10 // total > shown:
            shown = size * 10 // total
            logging.info("%s: %d of %d MB", name, size // 10**6, total // 10**6)
    if total and size != total:
        raise ConnectionError(f"the connection broke after {size} of {total} bytes")
    if not digest.hexdigest().startswith(sha256_prefix):
        raise ConnectionError(
            f"its SHA-256 is {digest.hexdigest()}, expected {sha256_prefix}..."
        )
