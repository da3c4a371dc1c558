"""Reads pages as the tests want them, and opens them in Chromium where there is one."""

import json
import re
import shutil
import subprocess
from html import unescape
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


def browse(page: Path, script: str, profile: Path, width: int = 500):
    """Open a copy of a page in Chromium; return what a script says of it.

    Args:
        page: The page; the copy lies beside it.
        script: Body of an async function that returns what json can hold.
        profile: Folder for the browser.
        width: Of the window in pixels.

    Returns:
        What the script returned, and the lines that the console showed.
    """
    probe = (
        '<script type="module">\n'
        f"const found = await (async () => {{{script}}})().catch((e) => `${{e}}`);\n"
        "document.title = JSON.stringify(found);\n</script></body>"
    )
    copy = page.with_name("probed.html")
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", probe), encoding="utf-8")
    run = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
            *(f"--window-size={width},800", "--virtual-time-budget=20000"),
            *("--dump-dom", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
            f"file://{copy}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    copy.unlink()
    title = re.search(r"<title>(.*?)</title>", run.stdout, re.DOTALL)[1]
    console = [line for line in run.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(unescape(title)), console
