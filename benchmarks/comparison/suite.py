"""What a section of the benchmark is: groups that are measured one by one, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from contest.setting import Setting
from contest.table import Table

Key = tuple[str, ...]
"""A group within its section, such as ("hrnet_w18", "int8", "8")."""
Record = dict[str, Any]
"""What was measured of a group, as JSON; `notes` is a list of lines for below the table."""
Records = Mapping[Key, Record]


class Section(Protocol):
    """A module of this package that measures something."""

    def keys(self, names: Sequence[str], *, quick: bool) -> list[Key]:
        """Its groups for some nets, in the order of the table."""
        ...

    def measure(self, setting: Setting, key: Key) -> Record:
        """Measure one group; may raise anything."""
        ...

    def table(self, records: Records) -> Table:
        """What was measured so far; no group of it failed."""
        ...
