"""JSON of other people's files: every way in which it can be unusable is one ValueError."""

from __future__ import annotations

import json
from typing import Any

from hrnet_deploy.limits import JSON_DEPTH, JSON_INTEGER_BITS

_MAX_DIGITS = 20
_ESCAPED_SURROGATE = r"\ud"


def parse_json(text: str | bytes, *, file_names: bool = False) -> Any:
    """Parse JSON whose values fit into 64 bits, whose nesting is bounded, and whose texts are Unicode.

    Args:
        text: UTF-8 (other encodings of JSON are refused), or a decoded text.
        file_names: whether texts may hold half of a surrogate pair, as Python writes a file name that is not UTF-8.

    Returns:
        Dicts, lists, texts, numbers, booleans and None. NaN and the infinities, which Python writes, are read.

    Raises:
        ValueError: no JSON, an integer beyond 64 bits, deeper than `limits.JSON_DEPTH`, or half of a surrogate pair.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    # A text without the escapes of surrogates can hold one only as it is, and few levels need no walk.
    lowered = not file_names and (_ESCAPED_SURROGATE in decoded or r"\uD" in decoded)
    if lowered or (isinstance(text, str) and not file_names and not _is_unicode(text)):
        _check_texts(value)
    if max(decoded.count("["), decoded.count("{")) * 2 > JSON_DEPTH:
        _check_depth(value)
    return value


def _integer(digits: str) -> int:
    # The length is checked first, because int() takes quadratic time.
    if (
        len(digits) > _MAX_DIGITS
        or not -(1 << JSON_INTEGER_BITS - 1) <= (value := int(digits)) < 1 << JSON_INTEGER_BITS
    ):
        raise ValueError(f"it has an integer of {len(digits)} digits, beyond {JSON_INTEGER_BITS} bits")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_texts(value: Any) -> None:
    """Refuse half of a surrogate pair in any text or key."""
    level = [value]
    while level:
        item = level.pop()
        if isinstance(item, str):
            item.encode()  # UnicodeEncodeError, a ValueError
        elif isinstance(item, dict):
            level += item.keys()
            level += item.values()
        elif isinstance(item, list):
            level += item


def _check_depth(value: Any) -> None:
    """Refuse containers that are nested too deeply, without recursion."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(JSON_DEPTH):
        below: list[Any] = []
        for item in level:
            inner = item.values() if isinstance(item, dict) else item
            below += [one for one in inner if isinstance(one, (dict, list))]
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {JSON_DEPTH} levels deep")
