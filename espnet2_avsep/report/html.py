"""The few pieces of HTML that the reports are built of. All text is escaped here."""

import html
from pathlib import Path
from typing import Iterable, Mapping, NamedTuple, Optional, Sequence, Union

# Elements without content and end.
_VOID = frozenset(("img", "meta"))


class Html(str):
    """Text that is HTML already."""


Content = Union[str, int, float, Html]


class Cell(NamedTuple):
    """A table's cell that is sorted by something other than what it shows.

    Attributes:
        shown: What it shows.
        value: What it is sorted by.
    """

    shown: Content
    value: float


def escaped(content: Content) -> Html:
    """Return content as HTML; what is HTML already stays."""
    return content if isinstance(content, Html) else Html(html.escape(str(content)))


def join(parts: Iterable[Content]) -> Html:
    """Put parts one after another."""
    return Html("".join(escaped(part) for part in parts))


def element(tag: str, *content: Content, **attributes: Optional[Content]) -> Html:
    """Return an element.

    Args:
        tag: Its name.
        *content: What is in it.
        **attributes: "_" becomes "-", and one at the end is dropped; None is left out.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{words}>")
    return Html(f"<{tag}{words}>{join(content)}</{tag}>")


def document(
    title: str,
    above: Iterable[Html],
    titles: Mapping[str, str],
    sections: Mapping[str, Content],
) -> str:
    """Return a whole page; style and script are in it.

    Args:
        title: Of the page.
        above: What stands between the list of sections and the first one.
        titles: Name of a section -> its title, in the order of the page.
        sections: Name of a section -> its content.
    """
    here = Path(__file__).parent
    links = (
        element("li", element("a", text, href=f"#{name}"))
        for name, text in titles.items()
    )
    main = [
        element("h1", title),
        element("nav", element("ul", *links), aria_label="Sections"),
        *above,
    ]
    for name, text in titles.items():
        heading = element("h2", text, id=f"{name}-title")
        main.append(
            element(
                "section",
                heading,
                sections[name],
                id=name,
                aria_labelledby=f"{name}-title",
            )
        )
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html((here / "page.css").read_text(encoding="utf-8"))),
    ]
    body = [
        element("a", "Skip to the content", href="#main", class_="skip"),
        element("main", *main, id="main"),
        element("script", Html((here / "page.js").read_text(encoding="utf-8"))),
    ]
    text = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{text}\n"


def note(about: str, words: Content, warn: bool = False) -> Html:
    """Return a line of the summary at the top; a warning is one in words, too."""
    label = f"{'Warning, ' if warn else ''}{about}:"
    return element("li", element("b", label), words, class_="warn" if warn else None)


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Union[Content, Cell]]],
    filterable: bool = False,
) -> Html:
    """Return a table that the page's script lets be sorted by any column.

    Args:
        caption: What it shows.
        header: Titles of the columns.
        rows: Their cells. Numbers are set to the right; the first column is the rows'
            header.
        filterable: Whether the page's script puts a field above it that hides rows.
    """
    head = element("tr", *(element("th", title, scope="col") for title in header))
    body = join(
        element("tr", *(_cell(value, n == 0) for n, value in enumerate(row)))
        for row in rows
    )
    inner = join(
        [
            element("caption", caption),
            element("thead", head),
            element("tbody", body),
        ]
    )
    return element(
        "div",
        element("table", inner, class_=f"sortable{' filterable' * filterable}"),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _cell(value: Union[Content, Cell], first: bool) -> Html:
    shown, key = value if isinstance(value, Cell) else (value, value)
    number = isinstance(key, (int, float))
    return element(
        "th" if first else "td",
        shown,
        scope="row" if first else None,
        class_="number" if number else None,
        data_value=key if number and not _reads_as(shown, key) else None,
    )


def _reads_as(shown: Content, value: float) -> bool:
    """Whether the page's script, reading what is shown, finds the value."""
    try:
        return float(shown) == value
    except ValueError:
        return False
