"""Markdown of tables and lists, in which names of classes and files are only text."""

import re
from typing import Callable, List, Mapping, Sequence

from espnet2_avsep.errors import visible

# What begins a block at the start of a line: a rule or the underline of a heading, a
# heading, a list, a quotation, a block of code.
_BLOCK = re.compile(
    r"[-=:]+$|[-*_](?: *[-*_]){2,}$|#{1,6}(?: |$)|[-+*](?: |$)|>|`{3}|~{3}"
)
_NUMBER = re.compile(r"^([0-9]{1,9})(?=[.)](?: |$))")  # of a numbered list


def plain(text: object) -> str:
    """Return a text that stays within its line and cell and opens no HTML or link.

    For whatever holds the names that somebody else chose; emphasis and code are left.
    """
    line = " ".join(str(text).split()).replace("\\", "\\\\")
    line = line.replace("<", "&lt;").replace("|", "\\|").replace("](", "\\](")
    line = visible(line)
    line = _NUMBER.sub(r"\1\\", line)
    return f"\\{line}" if _BLOCK.match(line) else line


def fenced(text: str, language: str = "") -> str:
    """Markdown of a block of code, whatever the code holds."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(text)}\n{fence}"


def document(*parts: str) -> str:
    """Join the parts of a page by blank lines; empty ones are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"


def bold(text: str) -> str:
    """Markdown of bold text; "" of none."""
    return f"**{text.strip()}**" if text.strip() else ""


def bullets(lines: Mapping[str, object]) -> str:
    """Markdown list of "key: value"."""
    return "\n".join(f"* {plain(f'{key}: {value}')}" for key, value in lines.items())


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown table; the first line is the header, columns but the first to the right.

    Cells are made :func:`plain`.
    """
    cells: List[List[str]] = [[plain(cell) for cell in line] for line in lines]
    widths = [max(3, *(len(line[n]) for line in cells)) for n in range(len(cells[0]))]
    align: List[Callable] = [str.ljust] + [str.rjust] * (len(widths) - 1)

    def render(line: Sequence[str]) -> str:
        padded = [
            f(cell, width) for f, cell, width in zip(align, line, widths, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1)] + ["-" * (w - 1) + ":" for w in widths[1:]]
    return "\n".join([render(cells[0]), render(rule), *map(render, cells[1:])])
