"""Numbers that nodes compute from shapes and stored numbers, such as the target of a Resize."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hrnet_deploy.artifact.onnx_graph import SMALL, StoredTensor, Values
from hrnet_deploy.artifact.shape_call import Call, UnknownSizeError

_Rule = Callable[[Call], Values]
_INTEGER_TYPES = {2, 3, 4, 5, 6, 7, 9, 12, 13}


def output_values(call: Call) -> Values | None:
    """Return the numbers of a node's first output; None where they are many, unknown, or not needed for sizes."""
    rule = _RULES.get(call.node.operator)
    if rule is None or call.node.domain:
        return None
    try:
        with np.errstate(all="ignore"):
            found = rule(call)
    except (UnknownSizeError, ValueError, IndexError, TypeError, ArithmeticError):
        return None
    return found if found.size <= SMALL else None


def _constant(call: Call) -> Values:
    tensor = call.get("value", None)
    if isinstance(tensor, StoredTensor):
        values = tensor.values()
        if values is None:
            raise UnknownSizeError("a large constant")
        return values
    for name in ("value_int", "value_ints", "value_float", "value_floats"):
        found = call.get(name, None)
        if found is not None:
            return np.array(found)
    raise UnknownSizeError("another constant")


def _shape(call: Call) -> Values:
    return np.array(call.shape()[call.get("start", 0) : call.get("end", None)], np.int64)


def _cast(call: Call) -> Values:
    return call.value(0).astype(np.int64 if call.get("to", 1) in _INTEGER_TYPES else np.float64)


def _divide(call: Call) -> Values:
    a, b = call.value(0), call.value(1)
    if a.dtype.kind == "i" and b.dtype.kind == "i":
        return np.array(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))
    return np.array(a / b)


def _slice(call: Call) -> Values:
    data = call.value(0)
    starts, ends = call.numbers(1, "starts") or [], call.numbers(2, "ends") or []
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = call.value(4).ravel().tolist() if call.has(4) else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        data = data[(slice(None),) * (axis % data.ndim) + (slice(start, end, step),)]
    return data


def _concat(call: Call) -> Values:
    return np.concatenate([call.value(i) for i in range(len(call.node.inputs))], call.get("axis", 0))


def _constant_of_shape(call: Call) -> Values:
    shape = [int(size) for size in call.value(0).ravel()]
    if len(shape) > 1 or (shape and shape[0] > SMALL):
        raise UnknownSizeError("many values")
    fill = call.get("value", None)
    stored = fill.values() if isinstance(fill, StoredTensor) else None
    value = 0 if stored is None else stored.item()
    return np.full(shape, value)


def _reshape(call: Call) -> Values:
    return call.value(0).reshape([int(size) for size in call.numbers(1, "shape") or []])


def _unsqueeze(call: Call) -> Values:
    return np.expand_dims(call.value(0), tuple(call.numbers(1, "axes") or ()))


def _squeeze(call: Call) -> Values:
    axes = call.numbers(1, "axes")
    return np.squeeze(call.value(0), None if axes is None else tuple(axes))


def _binary(function: Callable[[Values, Values], Values]) -> _Rule:
    return lambda call: np.array(function(call.value(0), call.value(1)))


def _unary(function: Callable[[Values], Values]) -> _Rule:
    return lambda call: np.array(function(call.value(0)))


def _gather(call: Call) -> Values:
    return np.take(call.value(0), call.value(1).astype(np.int64), call.get("axis", 0))


_RULES: Mapping[str, _Rule] = {
    "Constant": _constant,
    "Shape": _shape,
    "Size": lambda call: np.array(np.prod(call.shape(), dtype=np.int64)),
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Cast": _cast,
    "Identity": _unary(lambda a: a),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Round": _unary(np.round),
    "Neg": _unary(np.negative),
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _divide,
    "Equal": _binary(np.equal),
    "Min": _binary(np.minimum),
    "Max": _binary(np.maximum),
    "Where": lambda call: np.where(call.value(0), call.value(1), call.value(2)),
    "ConstantOfShape": _constant_of_shape,
    "ReduceProd": lambda call: np.array([np.prod(call.value(0))]),
}
