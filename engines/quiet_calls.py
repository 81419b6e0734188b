"""Calls of printing functions that leave stdout and `sys.stdout`, which belongs to all threads, alone."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any


def call_unprinted(function: Callable[..., Any]) -> Any:
    """Call a copy of a Python function in which `print` does nothing; other threads may print meanwhile."""
    if not isinstance(function, types.FunctionType):
        return function()
    silent = {**function.__globals__, "print": lambda *_, **__: None}
    copy = types.FunctionType(function.__code__, silent, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy()
