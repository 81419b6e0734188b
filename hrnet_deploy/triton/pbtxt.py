"""Protocol buffers as text: config.pbtxt is written and read without their package.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from hrnet_deploy.errors import ArtifactError, UsageError

Fields: TypeAlias = "dict[str, list[Any]]"
"""A message that was read: the values of each field in order, nested messages as such tables."""

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>[A-Za-z_]\w*)
    |(?P<number>[-+]?\.?[0-9](?:[eE][-+]|[\w.])*)
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_ESCAPED = {ord('"'): r"\"", ord("\\"): r"\\", ord("\n"): r"\n", ord("\r"): r"\r", ord("\t"): r"\t"}
_ESCAPED |= {code: f"\\{code:03o}" for code in (*range(32), 127) if code not in _ESCAPED}
_CLOSING = {"{": "}", "<": ">"}


class Identifier(str):
    """A value without quotes, such as the member of an enumeration."""

    __slots__ = ()


def write_pbtxt(message: Mapping[str, Any], indent: str = "") -> str:
    """Write a message; a sequence is a repeated field.

    Args:
        message: values by field: texts, `Identifier`s, numbers, truth values, nested messages, or sequences of these.
        indent: blanks before each line.

    Returns:
        Lines of text.

    Raises:
        UsageError: a text that is not valid Unicode.
    """
    lines: list[str] = []
    for name, value in message.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            if value and all(type(entry) is int for entry in value):
                lines.append(f"{indent}{name}: [{', '.join(map(str, value))}]\n")
                continue
            entries = value
        else:
            entries = [value]
        for entry in entries:
            if isinstance(entry, Mapping):
                lines.append(f"{indent}{name} {{\n{write_pbtxt(entry, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{name}: {_scalar(entry)}\n")
    return "".join(lines)


def quote(text: str) -> str:
    """Write a text as a literal; characters beyond ASCII stay, as UTF-8.

    Raises:
        UsageError: a text that is not valid Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"a text must be valid Unicode, got {text!r:.80}. Correct it.") from error
    return f'"{text.translate(_ESCAPED)}"'


def read_pbtxt(text: str, name: str) -> Fields:
    """Read a message.

    Args:
        text: protocol buffers as text.
        name: name of the file, for the error.

    Returns:
        Values by field.

    Raises:
        ArtifactError: not such a text.
    """
    tokens = _tokens(text, name)[::-1]  # the next one is the last
    try:
        return _message(tokens, "")
    except (ValueError, IndexError, RecursionError) as error:
        line = text.count("\n", 0, tokens[-1][2]) + 1 if tokens else text.count("\n") + 1
        raise ArtifactError(
            f"{name} must be protocol buffers as text, got an error before the end of line {line}. Correct it."
        ) from error


_Token: TypeAlias = tuple[str, str, int]


def _tokens(text: str, name: str) -> list[_Token]:
    """Split into (kind, text, position)."""
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            line = text.count("\n", 0, at) + 1
            raise ArtifactError(
                f"{name} must be protocol buffers as text, got {text[at]!r} in line {line}. Correct it."
            )
        if match.lastgroup != "skip":
            tokens.append((match.lastgroup or "", match[0], at))
        at = match.end()
    return tokens


def _message(tokens: list[_Token], closing: str) -> Fields:
    """Read fields up to a closing bracket, or to the end."""
    fields: Fields = {}
    while closing or tokens:
        kind, name, _ = tokens.pop()
        if closing and name == closing:
            break
        if kind != "word":
            raise ValueError(name)
        if tokens[-1][1] == ":":
            tokens.pop()
        values = fields.setdefault(name, [])
        if tokens[-1][1] == "[":
            tokens.pop()
            while tokens[-1][1] != "]":
                values.append(_value(tokens))
                if tokens[-1][1] == ",":
                    tokens.pop()
            tokens.pop()
        else:
            values.append(_value(tokens))
        if tokens and tokens[-1][1] in {",", ";"}:
            tokens.pop()
    return fields


def _value(tokens: list[_Token]) -> Any:
    """Read a number, an identifier, a text in one or more literals, or a message."""
    kind, text, _ = tokens.pop()
    if text in _CLOSING:
        return _message(tokens, _CLOSING[text])
    if kind == "text":
        content = _unescaped(text)
        while tokens and tokens[-1][0] == "text":
            content += _unescaped(tokens.pop()[1])
        return content.decode()
    if kind == "word":
        return Identifier(text) if text not in {"true", "false"} else text == "true"
    if kind != "number":
        raise ValueError(text)
    try:
        return int(text, 0)
    except ValueError:
        return float(text.rstrip("fF"))


def _unescaped(literal: str) -> bytes:
    """Return the bytes that a quoted literal stands for."""

    def plain(match: re.Match[bytes]) -> bytes:
        if match[3] is not None:
            return _NAMED.get(match[3], match[3])
        return bytes([int(match[1], 8) & 0xFF if match[1] is not None else int(match[2], 16)])

    return _ESCAPE.sub(plain, literal[1:-1].encode())


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) and not isinstance(value, Identifier) else str(value)
