"""Tables as text, Markdown and CSV, and names from foreign files as harmless text."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

WIDTH = 100
"""Width of the text output in columns."""
_MARKDOWN = "\\`*_{}[]()#+!|~$@"


@dataclass(frozen=True)
class Table:
    """A table of texts; `words` are the titles of the columns that are aligned left."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[str] = ()

    def text(self) -> list[str]:
        """Align the columns, one line per row, header first, with every cell escaped."""
        cells = [[printable(cell) for cell in row] for row in (self.header, *self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.header))]
        return [
            "  ".join(
                cell.ljust(width) if title in self.words else cell.rjust(width)
                for cell, width, title in zip(row, widths, self.header, strict=True)
            ).rstrip()
            for row in cells
        ]

    def markdown(self) -> list[str]:
        """Write GitHub's Markdown with every cell escaped, one line per row, header first."""
        rule = [":--" if title in self.words else "--:" for title in self.header]
        cells = [[escape_markdown(cell) for cell in row] for row in (self.header, *self.rows)]
        return [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]

    def csv(self) -> str:
        """Write CSV in which no word column holds what a spreadsheet reads as a formula."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header)
        for row in self.rows:
            writer.writerow(
                f"'{cell}" if title in self.words and cell.startswith(("=", "+", "-", "@")) else cell
                for title, cell in zip(self.header, row, strict=True)
            )
        return out.getvalue()


def printable(text: str) -> str:
    r"""Write control characters, line ends and invisible marks as escapes such as \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible(text: str) -> str:
    """Replace control and direction characters and lone surrogates by U+FFFD."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def escape_markdown(text: str) -> str:
    """Escape what Markdown and HTML would interpret; the result is one line."""
    # The html module costs 2 ms, and results need this module at every start.
    plain = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(
        "\\" + sign if sign in _MARKDOWN and not _is_harmless(plain, place) else sign
        for place, sign in enumerate(plain)
    )


def wrapped(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    """Break a text into lines of at most `WIDTH` columns, at least one; a longer word keeps its own line.

    The first line starts with `indent`, the others with `hanging`; None for blanks as wide as `indent`.
    """
    after = " " * len(indent) if hanging is None else hanging
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=after, break_on_hyphens=False, break_long_words=False
    )
    return lines or [indent.rstrip()]


def _is_harmless(text: str, place: int) -> bool:
    """Check for a sign that Markdown reads as text: a bracket, or an underscore inside a word."""
    sign = text[place]
    if sign in "()+":
        return True
    inside = 0 < place < len(text) - 1 and text[place - 1].isalnum() and text[place + 1].isalnum()
    return sign == "_" and inside
