"""The command line that says what a call said."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from hrnet_deploy.export.applies import flag


def command_line(program: str, function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """A call as a person would type it: DESIGN's flags map one to one to keywords.

    Args:
        program: the command.
        function: its keyword-only form; a positional parameter is the command's argument.
        given: the values it was called with, by name, in their normal form.

    Returns:
        The command with every value that differs from its default, quoted for a shell.
    """
    words, last = [program], []
    for name, parameter in inspect.signature(function).parameters.items():
        value = given[name]
        if value is None or value in (parameter.default, ()):
            continue
        option = flag(name, value)
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            last = ["--", str(value)] if str(value).startswith("-") else []
            words += [] if last else [str(value)]
        elif isinstance(value, bool):
            words.append(option)
        elif name == "classes" and isinstance(value, tuple):
            words += [option, json.dumps(value, ensure_ascii=False)]  # a name may hold commas and blanks
        elif name == "keep_fp":
            words += [word for part in value for word in _said(option, part)]
        elif isinstance(value, tuple):
            words += [option, *map(str, value)]  # colors
        else:
            words += _said(option, str(value))
    return shlex.join([*words, *last])


def _said(option: str, value: str) -> list[str]:
    """An option and its value; one that begins with a dash would be taken for an option."""
    return [f"{option}={value}"] if value.startswith("-") else [option, value]
