"""A Markdown table with a title and notes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """A table; an empty title leaves out the heading."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table as Markdown that ends with a line end."""
        lines = [f"## {self.title}", ""] if self.title else []
        lines += ["| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"
