"""Opcodes of pickles, protocols 0 to 5, and their arguments; each size is compared before memory is taken.

Source: Python, Lib/pickletools.py.
"""

from __future__ import annotations

import codecs
import pickle
import re
import struct
from collections.abc import Callable
from typing import IO, Any

from hrnet_deploy.limits import PICKLE_INTEGER_BYTES, PICKLE_LINE_BYTES

_SMALL_BYTES = 1 << 16
"""Larger counts are compared with the rest of the stream before they are read."""
_INTEGER = re.compile(rb"[+-]?\d+")
_BOOLEANS = {b"00": False, b"01": True}
_SURROGATES = re.compile("[\ud800-\udfff]")


class PickleStream:
    """A stream of known length that holds a pickle.

    Attributes:
        stream: a buffered file; the pickle begins at its position, and bytes may follow the pickle.
        end: position of the end of the stream.
    """

    def __init__(self, stream: IO[bytes], end: int) -> None:
        self.stream, self.end = stream, end

    def exactly(self, count: int) -> bytes:
        """Read a number of bytes; raise EOFError where the stream has fewer, before memory is taken."""
        if count > _SMALL_BYTES and count > self.end - self.stream.tell():
            raise EOFError("its pickle ends too early")
        content = self.stream.read(count)
        if len(content) < count:
            raise EOFError("its pickle ends too early")
        return content

    def line(self) -> bytes:
        """Read a line, without its end."""
        content = self.stream.readline(PICKLE_LINE_BYTES)
        if not content.endswith(b"\n"):
            raise pickle.UnpicklingError(f"a line of a pickle must have at most {PICKLE_LINE_BYTES} bytes and an end")
        return content[:-1]


def harmless_text(text: str) -> str:
    """Write surrogates, which no file of text can hold, as escapes."""
    return _SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _fixed(count: int, decode: Callable[[bytes], Any]) -> Callable[[PickleStream], Any]:
    return lambda stream: decode(stream.exactly(count))


def _counted(width: int, decode: Callable[[bytes], Any]) -> Callable[[PickleStream], Any]:
    return lambda stream: decode(stream.exactly(_unsigned(stream.exactly(width))))


def _line(decode: Callable[[bytes], Any]) -> Callable[[PickleStream], Any]:
    return lambda stream: decode(stream.line())


def _unsigned(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _signed(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


def _long(width: int) -> Callable[[PickleStream], int]:
    def read(stream: PickleStream) -> int:
        count = _unsigned(stream.exactly(width))
        if count > PICKLE_INTEGER_BYTES:
            raise pickle.UnpicklingError(f"an integer must have at most {PICKLE_INTEGER_BYTES} bytes, got {count}")
        return _signed(stream.exactly(count))

    return read


def _decimal(line: bytes) -> int | bool:
    """Decode an integer; the length is checked first, because int() takes quadratic time."""
    if line in _BOOLEANS:
        return _BOOLEANS[line]
    digits = line.removesuffix(b"L")
    if len(digits) > 2 * PICKLE_INTEGER_BYTES or not _INTEGER.fullmatch(digits):
        raise pickle.UnpicklingError(f"an integer must have at most {2 * PICKLE_INTEGER_BYTES} digits and nothing else")
    return int(digits)


def _float(line: bytes) -> float:
    if len(line) > 2 * PICKLE_INTEGER_BYTES:
        raise pickle.UnpicklingError(f"a number must have at most {2 * PICKLE_INTEGER_BYTES} characters")
    return float(line)


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
        raise pickle.UnpicklingError("a text of protocol 0 must be quoted")
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")


def _latin1(content: bytes) -> str:
    return content.decode("latin1")  # Python 2 stored bytes as text


def _utf8(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _raw_unicode(line: bytes) -> str:
    return harmless_text(line.decode("raw-unicode-escape"))


def _two_names(stream: PickleStream) -> tuple[str, str]:
    return _utf8(stream.line()), _utf8(stream.line())


PUSHED: dict[bytes, Callable[[PickleStream], Any]] = {
    pickle.INT: _line(_decimal),
    pickle.LONG: _line(_decimal),
    pickle.FLOAT: _line(_float),
    pickle.STRING: _line(_quoted),
    pickle.UNICODE: _line(_raw_unicode),
    pickle.BININT: _fixed(4, _signed),
    pickle.BININT1: _fixed(1, _unsigned),
    pickle.BININT2: _fixed(2, _unsigned),
    pickle.LONG1: _long(1),
    pickle.LONG4: _long(4),
    pickle.BINFLOAT: _fixed(8, lambda content: struct.unpack(">d", content)[0]),
    pickle.SHORT_BINSTRING: _counted(1, _latin1),
    pickle.BINSTRING: _counted(4, _latin1),
    pickle.SHORT_BINBYTES: _counted(1, bytes),
    pickle.BINBYTES: _counted(4, bytes),
    pickle.BINBYTES8: _counted(8, bytes),
    pickle.BYTEARRAY8: _counted(8, bytes),
    pickle.SHORT_BINUNICODE: _counted(1, _utf8),
    pickle.BINUNICODE: _counted(4, _utf8),
    pickle.BINUNICODE8: _counted(8, _utf8),
}
"""Readers of the scalars that opcodes push."""
ARGUMENTS: dict[bytes, Callable[[PickleStream], Any]] = {
    **PUSHED,
    pickle.PROTO: _fixed(1, _unsigned),
    pickle.FRAME: _fixed(8, _unsigned),
    pickle.PERSID: _line(_utf8),
    pickle.GLOBAL: _two_names,
    pickle.INST: _two_names,
    pickle.GET: _line(_decimal),
    pickle.PUT: _line(_decimal),
    pickle.BINGET: _fixed(1, _unsigned),
    pickle.LONG_BINGET: _fixed(4, _unsigned),
    pickle.BINPUT: _fixed(1, _unsigned),
    pickle.LONG_BINPUT: _fixed(4, _unsigned),
}
"""Readers of the arguments that opcodes have; other opcodes have none."""
