"""The command line that says what a call said."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from typing import Any


def command_line(program: str, function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """A call as a person would type it: DESIGN's flags map one to one to keywords.

    Args:
        program: the command.
        function: its keyword-only form; a positional parameter is the command's argument.
        given: the values it was called with, by name.

    Returns:
        The command with every value that differs from its default, quoted for a shell.
    """
    words = [program]
    for name, parameter in inspect.signature(function).parameters.items():
        value = given[name]
        if value == parameter.default or value is None:
            continue
        flag = "--" + name.replace("_", "-")
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            words.append(str(value))
        elif value is False:
            words.append("--no-" + name.replace("_", "-"))
        elif value is True:
            words.append(flag)
        elif isinstance(value, (tuple, list)):
            # An image size is written 512x1024, all other sequences as words.
            words += [flag, "x".join(map(str, value))] if name == "imgsz" else [flag, *map(str, value)]
        else:
            words += [flag, str(value)]
    return shlex.join(words)
