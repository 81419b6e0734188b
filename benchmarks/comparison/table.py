"""One table of the report."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """A table with its head and notes.

    Attributes:
        title: of it.
        columns: their heads.
        rows: of cells, as many as there are columns.
        notes: lines below.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"## {self.title}", "", "| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"
