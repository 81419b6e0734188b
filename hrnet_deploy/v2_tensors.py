"""Tensors in messages of the Open Inference Protocol (V2): JSON, and the binary tensor extension.

A message is JSON, and the bytes of binary tensors follow it in order; `HEADER_LENGTH` then gives the size of the JSON.
Sources: https://github.com/open-inference/open-inference-protocol (rest/inference_rest.md) and
https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import JSON_VALUES, V2_TEXTS
from hrnet_deploy.protocols import Tensors

HEADER_LENGTH = "Inference-Header-Content-Length"
"""HTTP header with the number of bytes of JSON before the binary tensors."""

V2_DTYPES: Mapping[str, str] = {
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind}{bits}".upper() for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
    "object": "BYTES",
}
"""Data types of the protocol by NumPy name; "object" is an array of bytes values."""

_NUMPY = {v2: name for name, v2 in V2_DTYPES.items()}
_JSON_TYPES: Mapping[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}
"""Types of JSON values that an array of each kind takes."""
_MAX_DIMENSIONS = 32  # of a NumPy 1 array

Place = Literal["inputs", "outputs"]


def write_message(
    fields: Mapping[str, Any], place: Place, tensors: Tensors, *, as_json: Container[str] = ()
) -> tuple[bytes, list[bytes | memoryview]]:
    """Write a message.

    Args:
        fields: its other members.
        place: member that lists the tensors.
        tensors: arrays by name.
        as_json: names of tensors whose values are written as JSON.

    Returns:
        The JSON, and the bytes of each binary tensor in order.

    Raises:
        UsageError: a data type without a name in the protocol, or float16 as JSON.
    """
    entries: list[dict[str, Any]] = []
    binary: list[bytes | memoryview] = []
    for name, array in tensors.items():
        if array.dtype.name not in V2_DTYPES:
            raise UsageError(f"tensor '{name}' must have a type of the V2 protocol, got {array.dtype}. Convert it.")
        entry: dict[str, Any] = {"name": name, "datatype": V2_DTYPES[array.dtype.name], "shape": list(array.shape)}
        if name in as_json:
            entry["data"] = _json_values(name, array)
        else:
            content = _content(array)
            entry["parameters"] = {"binary_data_size": len(content)}
            binary.append(content)
        entries.append(entry)
    return json.dumps({**fields, place: entries}, separators=(",", ":")).encode(), binary


def read_message(
    body: bytes | bytearray | memoryview, header_length: int | None, place: Place
) -> tuple[dict[str, Any], Tensors]:
    """Read a message.

    Args:
        body: the whole body.
        header_length: value of `HEADER_LENGTH`; None where the body is JSON alone.
        place: member that lists the tensors.

    Returns:
        The message, and its arrays by name. Binary tensors are read-only views of the body.

    Raises:
        UsageError: malformed, or with a tensor whose values do not match its type and shape.
    """
    view = memoryview(body)
    length = len(view) if header_length is None else header_length
    if not 0 <= length <= len(view):
        raise UsageError(
            f"JSON must be at most the {len(view):,} bytes of the body, got {length:,}. Correct the header."
        )
    message = _parse(bytes(view[:length]))
    entries = message.get(place)
    if not isinstance(entries, list):
        raise UsageError(f"message must have a list '{place}', got {entries!r:.60}. Send the tensors there.")
    tensors: dict[str, NDArray[Any]] = {}
    used = length
    for entry in entries:
        name, dtype, shape = _header(entry)
        size = _binary_size(entry)
        if size is None:
            array = _array_of_json(name, dtype, shape, entry.get("data"))
        else:
            array = _array_of_bytes(name, dtype, shape, view[used : used + size], size)
            used += size
        if name in tensors:
            raise UsageError(f"tensor '{name}' must be given once, got it twice. Leave one out.")
        tensors[name] = array
    if used != len(view):
        raise UsageError(f"body must end after its tensors, at {used:,} bytes, got {len(view):,}. Correct the sizes.")
    return message, tensors


def parse_message(text: bytes, max_values: int = JSON_VALUES) -> Any:
    """Parse JSON of a client or a server.

    Args:
        text: UTF-8.
        max_values: largest number of values, which is compared before memory is taken for them.

    Returns:
        As `parse_json`.

    Raises:
        ValueError: as `parse_json`, or more values.
    """
    if sum(map(text.count, (b",", b"[", b"{"))) > max_values:  # signs inside texts count, too
        raise ValueError(f"it has more than {max_values:,} values")
    return parse_json(text)


def _parse(text: bytes) -> dict[str, Any]:
    """Parse the JSON object of a message."""
    try:
        message = parse_message(text)
    except ValueError as error:
        raise UsageError(f"message must be JSON, got {text[:40]!r} ({error!s:.80}). Correct it.") from error
    if not isinstance(message, dict):
        raise UsageError(f"message must be a JSON object, got {type(message).__name__}. Correct it.")
    return message


def _header(entry: Any) -> tuple[str, str, tuple[int, ...]]:
    """Return name, NumPy type and shape of a tensor."""
    fields = entry if isinstance(entry, dict) else {}
    name, datatype, shape = fields.get("name"), fields.get("datatype"), fields.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, list):
        raise UsageError(f"tensor must have a name, a datatype and a shape, got {entry!r:.80}. Add them.")
    if datatype not in _NUMPY:
        raise UsageError(f"datatype of '{name}' must be one of {', '.join(_NUMPY)}, got '{datatype:.20}'. Correct it.")
    if len(shape) > _MAX_DIMENSIONS or not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        raise UsageError(f"shape of '{name}' must be a list of sizes, got {shape!r:.80}. Correct it.")
    return name, _NUMPY[datatype], tuple(shape)


def _binary_size(entry: Mapping[str, Any]) -> int | None:
    """Return the number of bytes of a binary tensor; None for one with JSON values."""
    parameters = entry.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size < 0):
        raise UsageError(f"binary_data_size must be a number of bytes, got {size!r:.40}. Correct it.")
    return size


def _array_of_bytes(name: str, dtype: str, shape: tuple[int, ...], content: memoryview, size: int) -> NDArray[Any]:
    """Interpret the bytes of a binary tensor."""
    count = math.prod(shape)
    if len(content) != size:
        raise UsageError(f"tensor '{name}' must have the {size:,} bytes it names, got {len(content):,}. Send them all.")
    if dtype == "object":
        return _array_of_texts(name, shape, _split_texts(name, content))
    kind = np.dtype(dtype).newbyteorder("<")
    if size != count * kind.itemsize:
        raise UsageError(
            f"tensor '{name}' must have {count * kind.itemsize:,} bytes for {dtype} {shape}, got {size:,}. Correct it."
        )
    return _shaped(name, np.frombuffer(content, kind), shape)


def _shaped(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Reshape; an empty array, too, has sizes that NumPy cannot represent."""
    try:
        return values.reshape(shape)
    except ValueError as error:
        raise UsageError(f"shape of '{name}' must be one that memory can have, got {shape}. Correct it.") from error


def _split_texts(name: str, content: memoryview) -> list[bytes]:
    """Split BYTES elements, each after its length in 4 little-endian bytes."""
    texts: list[bytes] = []
    at = 0
    while at < len(content):
        if len(texts) == V2_TEXTS:
            raise UsageError(f"tensor '{name}' must have at most {V2_TEXTS:,} texts, got more. Send fewer.")
        length = int.from_bytes(content[at : at + 4], "little")
        if at + 4 + length > len(content):
            raise UsageError(
                f"element {len(texts)} of '{name}' must be inside its tensor, got {length:,} bytes. Correct it."
            )
        texts.append(bytes(content[at + 4 : at + 4 + length]))
        at += 4 + length
    return texts


def _array_of_texts(name: str, shape: tuple[int, ...], texts: Sequence[bytes]) -> NDArray[Any]:
    """Put BYTES elements into an array of their shape."""
    if len(texts) != math.prod(shape):
        raise UsageError(f"tensor '{name}' must have {math.prod(shape):,} elements, got {len(texts):,}. Correct it.")
    array = np.empty(len(texts), object)
    array[:] = texts
    return _shaped(name, array, shape)


def _array_of_json(name: str, dtype: str, shape: tuple[int, ...], data: Any) -> NDArray[Any]:
    """Convert JSON values, nested or flat, and refuse those that the type cannot hold."""
    if not isinstance(data, list):
        raise UsageError(f"tensor '{name}' must have a list 'data' or binary_data_size, got neither. Send its values.")
    if dtype == "float16":
        raise UsageError(f"tensor '{name}' must be binary, because JSON has no FP16. Use the binary tensor extension.")
    given, values = _flattened(name, data)
    if len(values) != math.prod(shape) or (len(given) != 1 and given != shape):
        raise UsageError(f"tensor '{name}' must have {shape} values, got {given}. Correct it.")
    wanted = np.dtype(dtype)
    # Before NumPy sees them: an array of texts is as wide as the longest one, and could take terabytes.
    other = set(map(type, values)) - _JSON_TYPES[wanted.kind]
    if other:
        held = "texts" if dtype == "object" else f"{dtype} values"
        raise UsageError(f"tensor '{name}' must hold {held}, got {other.pop().__name__}. Correct it.")
    if dtype == "object":
        return _array_of_texts(name, shape, [text.encode() for text in values])
    if values and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if min(values) < limits.min or max(values) > limits.max:
            raise UsageError(f"tensor '{name}' must hold {dtype} values, got one beyond {limits.max}. Correct it.")
    with np.errstate(over="ignore"):  # a float beyond float32 is infinite
        return _shaped(name, np.array(values, wanted), shape)


def _flattened(name: str, data: list[Any]) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of nested lists, and their leaves in order."""
    sizes = [len(data)]
    level = data
    while list in (kinds := set(map(type, level))):
        lengths = set(map(len, level)) if len(kinds) == 1 else set()
        if len(lengths) != 1:
            raise UsageError(f"tensor '{name}' must hold rows of one length, got others. Correct it.")
        sizes.append(lengths.pop())
        level = list(itertools.chain.from_iterable(level))
    return tuple(sizes), level


def _content(array: NDArray[Any]) -> bytes | memoryview:
    """Return the bytes of a tensor, little-endian and in C order; of a numeric array, a view where possible."""
    if array.dtype.kind == "O":
        return b"".join(struct.pack("<I", len(text)) + text for text in array.ravel())
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return plain.reshape(-1).view(np.uint8).data


def _json_values(name: str, array: NDArray[Any]) -> list[Any]:
    """Return the values of a tensor in C order."""
    if array.dtype == np.float16:
        raise UsageError(f"tensor '{name}' must be binary, because JSON has no FP16. Use the binary tensor extension.")
    if array.dtype.kind == "O":
        return [text.decode(errors="replace") for text in array.ravel()]
    values: list[Any] = array.ravel().tolist()
    return values
