"""Reads pages as the tests want them, and opens them in Chromium where there is one."""

from html.parser import HTMLParser
from pathlib import Path

from tests.chromium import ask


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
    """Open a copy of a page in Chromium; see tests.chromium.ask.

    Args:
        page: The page; the copy lies beside it.
        script: Body of an async function.
        profile: Folder for the browser.
        width: Of the window in pixels.
    """
    copy = page.with_name("probed.html")

    def prepare(tag: str) -> str:
        text = page.read_text(encoding="utf-8")
        copy.write_text(text.replace("</body>", f"{tag}</body>"), encoding="utf-8")
        return f"file://{copy}"

    try:
        return ask(prepare, script, profile, width)
    finally:
        copy.unlink()
