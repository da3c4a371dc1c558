"""Reads pages as the tests want them, and opens them in Chromium where there is one."""

import http.server
import json
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

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


class Page(HTMLParser):
    """Collects what the tests ask for; complains of elements that do not nest."""

    VOID = {"meta", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables, self.text = [], [], {}, []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        if tag == "tr" and "tbody" in self.open:
            self.rows.append([])
        if tag in ("td", "th") and "tbody" in self.open:
            self.rows[-1].append("")
        if tag == "table":
            self.rows = []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data):
        if "caption" in self.open:
            self.caption += data
        elif "tbody" in self.open:
            self.rows[-1][-1] += data
        elif "script" not in self.open and "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


class _Listener(http.server.BaseHTTPRequestHandler):
    """Takes one message."""

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        self.server.message = self.rfile.read(size).decode()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def browse(page: Path, script: str, profile: Path, width: int = 500):
    """Open a copy of a page in Chromium; return what a script says of it.

    Time is real time: sounds load in no other.

    Args:
        page: The page; the copy lies beside it.
        script: Body of an async function that returns what json can hold.
        profile: Folder for the browser.
        width: Of the window in pixels.

    Returns:
        What the script returned, and the lines that the console showed.
    """
    with http.server.HTTPServer(("127.0.0.1", 0), _Listener) as server:
        server.timeout, server.message = 1, None
        address = f"http://127.0.0.1:{server.server_port}"
        probe = (
            '<script type="module">\n'
            f"const found = await (async () => {{{script}}})().catch(String);\n"
            f"fetch('{address}', {{method: 'POST', mode: 'no-cors', "
            "body: JSON.stringify(found)});\n</script></body>"
        )
        copy = page.with_name("probed.html")
        text = page.read_text(encoding="utf-8")
        copy.write_text(text.replace("</body>", probe), encoding="utf-8")
        browser = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *(f"--window-size={width},800", "--enable-logging=stderr"),
                *("--remote-debugging-port=0", f"--user-data-dir={profile}"),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"file://{copy}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            end = time.monotonic() + 60
            while server.message is None and time.monotonic() < end:
                server.handle_request()
        finally:
            browser.terminate()
            _, log = browser.communicate(timeout=20)
            copy.unlink()
    assert server.message is not None, log
    console = [line for line in log.splitlines() if ":CONSOLE" in line]
    return json.loads(server.message), console
