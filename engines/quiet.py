"""Calling what prints, without a word on stdout and without touching `sys.stdout`, which belongs to all threads."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any


def call_unprinted(function: Callable[..., Any]) -> Any:
    """Call a Python function whose `print` does nothing.

    Args:
        function: takes no arguments. A copy of it is called, so that other threads may print meanwhile, also by it.

    Returns:
        What it returns.
    """
    if not isinstance(function, types.FunctionType):
        return function()
    silent = {**function.__globals__, "print": _nothing}
    copy = types.FunctionType(function.__code__, silent, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy()


def _nothing(*_: Any, **__: Any) -> None:
    """What `print` does there."""
