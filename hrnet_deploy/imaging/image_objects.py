"""Open files, which are read, and arrays of other libraries, which are refused."""

from __future__ import annotations

import array
import inspect
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from hrnet_deploy.errors import ImageError, one_line

_CHUNK_BYTES = 1 << 20
ACCEPTED = "a path, encoded bytes, an open binary file, a NumPy array or a PIL image"


def is_file(source: Any) -> bool:
    """Decide whether an object is an open file or behaves like one."""
    return callable(getattr(source, "read", None)) and not isinstance(source, type)


def is_buffer(source: Any) -> bool:
    """Decide whether an object holds the bytes of one file."""
    return isinstance(source, (bytes, bytearray, memoryview, array.array))


def is_foreign_array(source: Any) -> bool:
    """Decide whether an object is an array of any library (torch, JAX, CuPy, ...) or a NumPy scalar."""
    return hasattr(source, "shape") and hasattr(source, "dtype")


def is_unordered(source: Any) -> bool:
    """Decide whether an object holds items without an order that results could follow."""
    return isinstance(source, (Mapping, AbstractSet))


def read_open_file(source: Any, what: str, limit: int) -> bytes:
    """Read an open binary file from its position: at least one byte, at most `limit`."""
    parts = bytearray()
    try:
        while chunk := source.read(_CHUNK_BYTES):
            if inspect.isawaitable(chunk):
                if inspect.iscoroutine(chunk):
                    chunk.close()
                raise ImageError(f"{what} must be read without await, got {type(source).__name__}. Pass its bytes.")
            if not isinstance(chunk, (bytes, bytearray, memoryview)):
                raise ImageError(f"{what} must give bytes, got {type(chunk).__name__}. Open it with mode 'rb'.")
            parts += chunk
            if len(parts) > limit:
                raise ImageError(f"{what} must have at most {limit} bytes, got more. Cut it into parts.")
    except ImageError:
        raise
    except Exception as error:  # a `read` of any library may fail in its own way
        reason = one_line(error, 200) or type(error).__name__
        raise ImageError(f"{what} cannot be read ({reason}). Pass a file opened with mode 'rb'.") from error
    if not parts:
        raise ImageError(f"{what} must have bytes left to read, got none. Rewind it with seek(0).")
    return bytes(parts)


def refusal(source: Any, what: str) -> ImageError:
    """Explain why an object is no image, and how to convert it."""
    kind = type(source)
    name = kind.__name__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__name__}"
    if not is_foreign_array(source):
        advice = "Pass a list in the order you want." if is_unordered(source) else "Convert it."
        return ImageError(f"{what} must be {ACCEPTED}, got {name}. {advice}")
    shape = tuple(source.shape)
    got = f"{name} {source.dtype} {shape}"
    # The numbers show neither the order of the colors nor their scale.
    if len(shape) == 4:
        return ImageError(f"{what} must be {ACCEPTED}, got a batch, {got}. Pass a list of BGR uint8 (H, W, 3) arrays.")
    rgb = "(255 * t).round().byte().permute(1, 2, 0).flip(-1).cpu().numpy()"
    advice = f", for RGB (3, H, W) of 0..1: {rgb}" if kind.__module__.startswith("torch") else ""
    return ImageError(f"{what} must be {ACCEPTED}, got {got}. Convert it to a BGR uint8 (H, W, 3) array{advice}.")
