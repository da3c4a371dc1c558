"""The few pieces of HTML that the report is built of. All text is escaped here."""

import html
from typing import Iterable, NamedTuple, Optional, Sequence, Union

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


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[Union[Content, Cell]]]
) -> Html:
    """Return a table that the page's script lets be sorted by any column.

    Args:
        caption: What it shows.
        header: Titles of the columns.
        rows: Their cells. Numbers are set to the right; the first column is the rows'
            header.
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
        element("table", inner, class_="sortable"),
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
        data_value=key if number and key is not shown else None,
    )
