"""Whether what is fed fits what a graph takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import TensorSpec


def check_names(inputs: Iterable[TensorSpec], feed: Mapping[str, Any]) -> None:
    """Refuse a feed that lacks an input or has one too many.

    Args:
        inputs: of the graph.
        feed: by name.

    Raises:
        UsageError: with the name.
    """
    names = [spec.name for spec in inputs]
    for name in names:
        if feed.get(name) is None:
            raise UsageError(f"input '{name}' must be given, got none. Pass it by that name.")
    unknown = feed.keys() - set(names)
    if unknown:
        raise UsageError(f"input must be one the graph has, got '{min(unknown)}'. Leave it out.")


def check_array(spec: TensorSpec, array: Any) -> None:
    """Refuse an array of another type or shape.

    Args:
        spec: what the graph takes.
        array: with `shape`, and `dtype` as NumPy has it or as its name.

    Raises:
        UsageError: with both sides.
    """
    shape, dtype = tuple(array.shape), array.dtype
    # ONNX Runtime takes the bytes of a foreign order for its own.
    name = dtype if isinstance(dtype, str) else dtype.name if dtype.isnative else dtype.str
    fits = len(shape) == len(spec.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(spec.shape, shape, strict=True)
    )
    if not fits or name != spec.dtype:
        raise UsageError(
            f"input '{spec.name}' must be {spec.dtype} {spec.shape}, got {dtype} {shape}. Reshape or convert it."
        )
