"""JSON of other people's files: every way in which it can be unusable is one ValueError."""

from __future__ import annotations

import json
from typing import Any

from hrnet_deploy.limits import JSON_DEPTH, JSON_INTEGER_BITS

_MAX_DIGITS = 20


def parse_json(text: str | bytes) -> Any:
    """Parse JSON whose values fit into 64 bits, whose nesting is bounded, and whose texts are Unicode.

    Args:
        text: UTF-8 (other encodings of JSON are refused), or a decoded text.

    Returns:
        Dicts, lists, texts, numbers, booleans and None. NaN and the infinities, which Python writes, are read.

    Raises:
        ValueError: no JSON, an integer beyond 64 bits, deeper than `limits.JSON_DEPTH`, or half of a surrogate pair.
    """
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check(value)
    return value


def _integer(digits: str) -> int:
    # The length is checked first, because int() takes quadratic time.
    if (
        len(digits) > _MAX_DIGITS
        or not -(1 << JSON_INTEGER_BITS - 1) <= (value := int(digits)) < 1 << JSON_INTEGER_BITS
    ):
        raise ValueError(f"it has an integer of {len(digits)} digits, beyond {JSON_INTEGER_BITS} bits")
    return value


def _check(value: Any) -> None:
    """Walk all values without recursion."""
    level = [value]
    for _ in range(JSON_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                item.encode()  # UnicodeEncodeError, a ValueError, for half of a surrogate pair
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {JSON_DEPTH} levels deep")
