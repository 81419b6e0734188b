"""Types of option values, each with the normal form of its values."""

from __future__ import annotations

import enum
import numbers
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.color_scale import channel_numbers


@dataclass(frozen=True)
class ValueType:
    """The type of a value; `text` completes "must be ...", `normal` raises TypeError or ValueError for another type."""

    text: str
    normal: Callable[[Any], Any]


def _path(value: Any) -> str:
    if isinstance(value, bytes) or not isinstance(value, (str, os.PathLike)):
        raise TypeError
    return os.fspath(value)


def _text(value: Any) -> str:
    """Return a text; of an enumeration its value."""
    if not isinstance(value, str):
        raise TypeError
    return str(value.value) if isinstance(value, enum.Enum) else str(value)


def _switch(value: Any) -> bool:
    numpy = sys.modules.get("numpy")  # a value of its types exists only where it is loaded
    if not isinstance(value, bool) and (numpy is None or not isinstance(value, numpy.bool_)):
        raise TypeError
    return bool(value)


def _whole_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError
    return int(value)


def _number(value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _mode(value: Any) -> bool | str:
    return _text(value) if isinstance(value, str) else _switch(value)


def _batch(value: Any) -> int | str:
    return _text(value) if isinstance(value, str) else _whole_number(value)


def _image_size(value: Any) -> int | str:
    """Return a number, a text, or a pair of numbers as "HxW"."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError
        return "x".join(str(_whole_number(size)) for size in value)
    return _batch(value)


def _names(value: Any) -> tuple[str, ...]:
    """Return texts; one text may hold several, with commas between them."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, Sequence) or not all(isinstance(name, str) and name for name in value):
        raise TypeError
    return tuple(map(_text, value))


def _class_names(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, (str, os.PathLike)):
        return _path(value)
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise TypeError
    return tuple(map(_text, value))


PATH = ValueType("a path", _path)
TEXT = ValueType("a text", _text)
SWITCH = ValueType("True or False", _switch)
WHOLE_NUMBER = ValueType("a whole number", _whole_number)
NUMBER = ValueType("a number", _number)
COLORS = ValueType("three numbers", lambda value: channel_numbers("it", value))
PIXEL_MODE = ValueType("True, False, 'bgr' or 'rgb'", _mode)
LABEL_MODE = ValueType("True, False, 'topk' or 'softmax'", _mode)
BATCH = ValueType("a number or a text", _batch)
IMAGE_SIZE = ValueType("a number, a text or a pair of numbers", _image_size)
NAMES = ValueType("a list of texts", _names)
CLASS_NAMES = ValueType("a path or a list of texts", _class_names)
