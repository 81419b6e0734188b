"""Text for a terminal: columns that line up, and nothing in them that steers it."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

WIDTH = 100
"""Columns that are used."""


def printable(text: str) -> str:
    r"""Escape what would steer a terminal, as names from foreign files may.

    Args:
        text: any.

    Returns:
        The same with control characters, line ends and invisible marks as \x1b, \n or \u202e.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[str] = ()) -> list[str]:
    """Columns of equal width.

    Args:
        header: one name a column.
        rows: cells as texts.
        words: names of the columns that stand to the left; the others, numbers, stand to the right.

    Returns:
        One line for the header and for each row.
    """
    cells = [header, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if title in words else cell.rjust(width)
            for cell, width, title in zip(row, widths, header, strict=True)
        ).rstrip()
        for row in cells
    ]


def wrapped(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    """Break a text into lines.

    Args:
        text: any.
        indent: what the first line begins with.
        hanging: what the others begin with; None for blanks of the same length.

    Returns:
        Lines of at most `WIDTH`, but for single words that are longer; one line for an empty text.
    """
    after = " " * len(indent) if hanging is None else hanging
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=after, break_on_hyphens=False, break_long_words=False
    )
    return lines or [indent.rstrip()]
