"""Fill the templates of pages, which autoescape what is put in, and of model cards."""

import functools
import io
import re
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
)
from urllib.parse import quote

from espnet2_avsep.metrics.markdown import markdown_table, plain

if TYPE_CHECKING:
    import jinja2
    import numpy as np
    from markupsafe import Markup


class Cell(NamedTuple):
    """A table's cell.

    Attributes:
        shown: What it shows.
        value: What it is sorted by; None: by what it shows.
        href: Where it links to, or "".
    """

    shown: Any
    value: Optional[float] = None
    href: str = ""

    @property
    def attributes(self) -> Dict[str, Any]:
        """Of its element; data-value: what the script cannot read from the text."""
        key = self.shown if self.value is None else self.value
        if not isinstance(key, (int, float)):
            return {}
        try:
            is_read = float(self.shown) == key
        except ValueError:
            is_read = False
        return {"class": "number", **({} if is_read else {"data-value": key})}


class Table(NamedTuple):
    """A table that the script lets be sorted by any column.

    Attributes:
        caption: What it shows.
        header: Titles of the columns.
        rows: Cells, or what they show. The first column heads its row.
        filterable: Whether a field above it hides rows.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    filterable: bool = False

    @property
    def body(self) -> List[List[Cell]]:
        """The rows as cells."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in r] for r in self.rows]


class Note(NamedTuple):
    """A line of the summary at the top.

    Attributes:
        about: What it is about.
        words: What it says; **bold** and `code` are known.
        warn: Whether it is a warning.
    """

    about: str
    words: str
    warn: bool = False


def render(template: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: Name of its template.
        **values: What the template uses.
    """
    return _environment().get_template(template).render(values)


def part(template: str, macro: str, *values: Any) -> str:
    """Return what a macro of a template makes of values."""
    return str(getattr(_environment().get_template(template).module, macro)(*values))


def inline(text: object) -> "Markup":
    """Return a line of RESULTS.md as HTML: **bold** and `code` are known."""
    from markupsafe import Markup

    pieces = re.split(r"\*\*(.+?)\*\*|`([^`]+)`", str(text))
    parts = [Markup.escape(pieces[0])]
    for bold, code, rest in zip(*(pieces[n::3] for n in (1, 2, 3)), strict=True):
        tag = "<b>{}</b>" if bold else "<code>{}</code>"
        parts += [Markup(tag).format(bold or code), Markup.escape(rest)]
    return Markup("").join(parts)


def jpeg(picture: "np.ndarray", quality: int = 80) -> bytes:
    """Return a picture (H, W, 3), uint8, as a JPEG."""
    import numpy as np
    from PIL import Image

    content = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return Markdown of rows, column -> cell; the first one has all columns."""
    names = list(rows[0])
    return markdown_table([names, *([row.get(n, "") for n in names] for row in rows)])


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(inline=inline, url=quote, plain=plain, table=_table)
    return environment
