"""Asks a page in Chromium what it has become; the standard library is enough."""

import http.server
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium at hand")


class _Listener(http.server.BaseHTTPRequestHandler):
    """Takes one message."""

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        self.server.message = self.rfile.read(size).decode()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def ask(
    prepare: Callable[[str], str], script: str, profile: Path, width: int = 500
) -> Tuple[Any, List[str]]:
    """Open a page; return what a script says of it.

    Time is real time: sounds load in no other. No name but this machine's resolves.

    Args:
        prepare: Puts a script element into the page, and returns the page's address.
        script: Body of an async function that returns what json can hold.
        profile: Folder for the browser.
        width: Of the window in pixels.

    Returns:
        What the script returned, and the lines that the console showed.
    """
    with http.server.HTTPServer(("127.0.0.1", 0), _Listener) as server:
        server.timeout, server.message = 1, None
        address = f"http://127.0.0.1:{server.server_port}"
        tag = (
            '<script type="module">\n'
            f"const found = await (async () => {{{script}}})().catch(String);\n"
            f"fetch('{address}', {{method: 'POST', mode: 'no-cors', "
            "body: JSON.stringify(found)});\n</script>"
        )
        browser = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *(f"--window-size={width},800", "--enable-logging=stderr"),
                *("--remote-debugging-port=0", f"--user-data-dir={profile}"),
                "--autoplay-policy=no-user-gesture-required",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                prepare(tag),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            end = time.monotonic() + 90
            while server.message is None and time.monotonic() < end:
                server.handle_request()
        finally:
            browser.terminate()
            _, log = browser.communicate(timeout=120)
    assert server.message is not None, log
    console = [line for line in log.splitlines() if ":CONSOLE" in line]
    return json.loads(server.message), console
