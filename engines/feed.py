"""Checks of a feed against the inputs of a graph, and of one description of a tensor against another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import TensorSpec


def check_names(inputs: Iterable[TensorSpec], feed: Mapping[str, Any]) -> None:
    """Refuse a feed that lacks an input or has an unknown one."""
    names = [spec.name for spec in inputs]
    for name in names:
        if feed.get(name) is None:
            raise UsageError(f"input '{name}' must be given, got none. Pass it by that name.")
    unknown = feed.keys() - set(names)
    if unknown:
        raise UsageError(f"input must be one the graph has, got '{min(unknown)}'. Leave it out.")


def check_array(spec: TensorSpec, array: Any) -> None:
    """Refuse an array of another type or shape; its `dtype` is NumPy's or a name."""
    shape, dtype = tuple(array.shape), array.dtype
    # ONNX Runtime would read the bytes of a foreign byte order as its own.
    name = dtype if isinstance(dtype, str) else dtype.name if dtype.isnative else dtype.str
    fits = len(shape) == len(spec.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(spec.shape, shape, strict=True)
    )
    if not fits or name != spec.dtype:
        raise UsageError(
            f"input '{spec.name}' must be {spec.dtype} {spec.shape}, got {dtype} {shape}. Reshape or convert it."
        )


def agrees(spec: TensorSpec, other: TensorSpec) -> bool:
    """Compare names, types and sizes; an open size may have another name, as in an engine without its own card."""
    same = (spec.name, spec.dtype, len(spec.shape)) == (other.name, other.dtype, len(other.shape))
    return same and all(
        a == b or (isinstance(a, str) and isinstance(b, str)) for a, b in zip(spec.shape, other.shape, strict=True)
    )
