"""What a field of a calibration table must hold, whoever wrote it."""

from __future__ import annotations

import math
from typing import Any

from hrnet_deploy.calibration.thresholds import METHODS
from hrnet_deploy.errors import UsageError

AGAIN = "Calibrate again."
"""What to do about a field that cannot be used."""


def checked_number(name: str, value: Any) -> float:
    """Bring a number to float.

    Args:
        name: of the field, for the error.
        value: what was read.

    Returns:
        The value as a float.

    Raises:
        UsageError: not a number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, got {value!r:.60}. {AGAIN}")
    return float(value)


def checked_positive(name: str, value: Any) -> float:
    """Bring a positive number to float.

    Args:
        name: of the field, for the error.
        value: what was read.

    Returns:
        The value as a float.

    Raises:
        UsageError: not a finite number above zero.
    """
    number = checked_number(name, value)
    if number <= 0:
        raise UsageError(f"{name} must be positive, got {value!r:.60}. {AGAIN}")
    return number


def checked_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number from `least` up.

    Args:
        name: of the field, for the error.
        value: what was read.
        least: smallest that is allowed.

    Raises:
        UsageError: another type, or too small.
    """
    if type(value) is not int or value < least:
        raise UsageError(f"{name} must be a whole number from {least} up, got {value!r:.60}. {AGAIN}")


def checked_method(name: str, method: Any) -> str:
    """Refuse what is no calibration method.

    Args:
        name: of the field, for the error.
        method: what was read.

    Returns:
        Its name.

    Raises:
        UsageError: not among METHODS.
    """
    if method not in METHODS:
        raise UsageError(f"{name} must be of a method among {', '.join(METHODS)}, got {method!r:.60}. {AGAIN}")
    return str(method)
