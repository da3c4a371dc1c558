"""Reads pages as the tests want them, and opens them in Chromium where there is one."""

from html.parser import HTMLParser
from pathlib import Path

from tests.support.chromium import ask


class Page(HTMLParser):
    """Collects what the tests ask for; complains of elements that do not nest."""

    VOID = {"meta", "img", "input"}

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
        elif {"td", "th"} & set(self.open):
            if "tbody" in self.open:
                self.rows[-1][-1] += data
        elif "script" not in self.open and "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


PHONE = """
const right = document.documentElement.clientWidth + 1;
const outside = [...document.querySelectorAll("main *")].filter(
  (e) => !e.closest("svg, thead") && e.getBoundingClientRect().right > right);
const small = [];
const texts = document.createTreeWalker(document.querySelector("main"), 4);
while (texts.nextNode()) {
  const parent = texts.currentNode.parentElement;
  const size = parseFloat(getComputedStyle(parent).fontSize);
  if (texts.currentNode.data.trim() && size < 14) small.push(parent.outerHTML);
}
const regions = [...document.querySelectorAll(".scroll")].filter(
  (region) => region.scrollWidth > region.clientWidth);
return {
  width: innerWidth,
  wide: document.documentElement.scrollWidth > innerWidth,
  outside: outside.slice(0, 3).map((e) => e.outerHTML.slice(0, 200)),
  small: small.slice(0, 3),
  scrolled: regions.map((region) => region.ariaLabel),
};
"""


def check_on_a_phone(page: Path, profile: Path) -> None:
    """Check that nothing of a page is beside a screen of 390 px, or hard to read."""
    inner, outer = page.with_name("inner.html"), page.with_name("outer.html")

    def prepare(tag: str) -> str:
        text = page.read_text(encoding="utf-8")
        inner.write_text(text.replace("</body>", f"{tag}</body>"), encoding="utf-8")
        # A window is no narrower than 500 px, a frame may be.
        frame = '<iframe src="inner.html" style="width: 390px; border: 0"></iframe>'
        outer.write_text(f"<!DOCTYPE html>{frame}", encoding="utf-8")
        return f"file://{outer}"

    try:
        found, console = ask(prepare, PHONE, profile)
    finally:
        inner.unlink()
        outer.unlink()
    expected = {"width": 390, "wide": False, "outside": [], "small": []}
    assert found == {**expected, "scrolled": []}
    assert not console, console


def browse(page: Path, script: str, profile: Path, width: int = 500):
    """Open a copy of a page in Chromium; see tests.support.chromium.ask.

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
