"""A Markdown table with a title and notes, and the parser and output that all scripts share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MISSING = "-"


@dataclass
class Table:
    """A table; an empty title leaves out the heading."""

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Table:
        """Tabulate records by a format string a column, as "{ms:.2f}"; an `error` stands for what is missing."""
        return cls(title, tuple(columns), [_cells(row, list(columns.values())) for row in rows])

    def markdown(self) -> str:
        """Return the table as Markdown that ends with a line end."""
        lines = [f"## {self.title}", ""] if self.title else []
        lines += ["| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Create the parser of a script from its docstring."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def print_result(record: object, tables: Sequence[Table], *, as_json: bool) -> None:
    """Print the record as JSON, or its tables."""
    print(json.dumps(record, indent=2) if as_json else "\n".join(table.markdown() for table in tables))


def _cells(row: Mapping[str, Any], formats: Sequence[str]) -> tuple[str, ...]:
    cells = [_cell(row, text) for text in formats]
    if "error" in row and _MISSING in cells:
        at = cells.index(_MISSING)
        cells[at:] = [row["error"], *[""] * (len(cells) - at - 1)]
    return tuple(cells)


def _cell(row: Mapping[str, Any], text: str) -> str:
    try:
        return text.format(**row)
    except (KeyError, TypeError):  # no such figure, or None
        return _MISSING
