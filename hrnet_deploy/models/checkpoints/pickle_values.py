"""What a pickle names and calls, recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PickledName:
    """A class or function that a pickle names, as "module.name"; it is never looked up."""

    name: str


@dataclass(eq=False, slots=True)
class PickledObject:
    """A call in a pickle, recorded instead of executed: the callable, its arguments, and what is then set or added.

    Attributes:
        items: what is appended; None without any.
        entries: what is set by key; None without any.
    """

    name: str
    # Values may hold each other, so that their text could be endless.
    arguments: tuple[Any, ...] = field(default=(), repr=False)
    state: Any = field(default=None, repr=False)
    items: list[Any] | None = field(default=None, repr=False)
    entries: dict[Any, Any] | None = field(default=None, repr=False)
