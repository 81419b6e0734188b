"""The protocol of a suite: groups that are measured one by one, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from comparison.config import Config
from comparison.table import Table

Key = tuple[str, ...]
"""A group within its suite, such as ("hrnet_w18", "int8", "batch-8")."""
Record = dict[str, Any]
"""Measurements of a group, as JSON; `notes` is a list of lines for below the table."""
Records = Mapping[Key, Record]


class Suite(Protocol):
    """A module of this package that measures something."""

    def keys(self, names: Sequence[str], *, quick: bool) -> list[Key]:
        """Return the groups of some models, in the order of the table."""
        ...

    def measure(self, config: Config, key: Key) -> Record:
        """Measure one group; may raise anything."""
        ...

    def table(self, records: Records) -> Table:
        """Tabulate the records of groups that did not fail."""
        ...
