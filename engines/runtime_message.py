"""Messages of runtimes on one line: the reason stays, places in sources and addresses go."""

from __future__ import annotations

import re

from hrnet_deploy.errors import one_line

_LIMIT = 400
_HEAD = 120
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


def tidy(text: object) -> str:
    """Return a message on one line of at most 400 characters, without addresses; the middle of a longer one goes."""
    line = one_line(_ADDRESS.sub("", str(text)))
    if len(line) <= _LIMIT:
        return line
    # Runtimes begin with the node and end with the reason.
    return f"{line[:_HEAD]} … {line[_HEAD + 3 - _LIMIT :]}"
