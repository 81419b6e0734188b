"""The normal form of an option's value; TypeError or ValueError for one of another type."""

from __future__ import annotations

import enum
import numbers
import os
from collections.abc import Sequence
from typing import Any

import numpy as np


def path(value: Any) -> str:
    """A path as text."""
    if isinstance(value, bytes) or not isinstance(value, (str, os.PathLike)):
        raise TypeError
    return os.fspath(value)


def text(value: Any) -> str:
    """A text; of an enumeration its value."""
    if not isinstance(value, str):
        raise TypeError
    return str(value.value) if isinstance(value, enum.Enum) else str(value)


def switch(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError
    return bool(value)


def whole_number(value: Any) -> int:
    """An integer that is no boolean."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError
    return int(value)


def number(value: Any) -> float | int:
    """A real number that is no boolean."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def mode(value: Any) -> bool | str:
    """A switch, or a text that names a mode."""
    return text(value) if isinstance(value, str) else switch(value)


def batch(value: Any) -> int | str:
    """A number, or a text such as "1:8:16"."""
    return text(value) if isinstance(value, str) else whole_number(value)


def image_size(value: Any) -> int | str:
    """A number, a text, or a pair of numbers as "HxW"."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError
        return "x".join(str(whole_number(size)) for size in value)
    return batch(value)


def names(value: Any) -> tuple[str, ...]:
    """Texts; one text may hold several, with commas between them."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, Sequence) or not all(isinstance(name, str) and name for name in value):
        raise TypeError
    return tuple(map(text, value))


def class_names(value: Any) -> str | tuple[str, ...]:
    """A path, or texts."""
    if isinstance(value, (str, os.PathLike)):
        return path(value)
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise TypeError
    return tuple(map(text, value))
