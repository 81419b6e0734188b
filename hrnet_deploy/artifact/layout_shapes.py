"""Shapes after operators that join, cut, move, repeat or resize tensors without arithmetic.

Source: the operator specifications of ONNX (onnx.ai/onnx/operators).
"""

from __future__ import annotations

import math

from hrnet_deploy.artifact.onnx_graph import StoredTensor
from hrnet_deploy.artifact.shape_call import Call, Shape, UnknownSizeError, broadcast


def concat_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Concat."""
    shapes = [call.shape(i) for i in range(len(call.node.inputs))]
    axis = call.get("axis", 1) % max(len(shapes[0]), 1)
    joined = list(shapes[0])
    joined[axis] = sum(shape[axis] for shape in shapes)
    return [tuple(joined)]


def qlinear_concat_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of QLinearConcat."""
    shapes = [call.shape(i) for i in range(2, len(call.node.inputs), 3)]
    axis = call.get("axis", 1) % max(len(shapes[0]), 1)
    joined = list(shapes[0])
    joined[axis] = sum(shape[axis] for shape in shapes)
    return [tuple(joined)]


def split_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Split."""
    shape, count = call.shape(), len(call.node.outputs)
    axis = call.get("axis", 0) % max(len(shape), 1)
    parts = call.numbers(1, "split") or [-(-shape[axis] // count)] * count
    return [(*shape[:axis], min(part, shape[axis]), *shape[axis + 1 :]) for part in parts]


def slice_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Slice."""
    shape = list(call.shape())
    starts, ends = call.numbers(1, "starts") or [], call.numbers(2, "ends") or []
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = list(call.value(4).ravel().tolist()) if call.has(4) else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return [tuple(shape)]


def gather_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Gather."""
    shape, indices = call.shape(), call.shape(1)
    axis = call.get("axis", 0) % max(len(shape), 1)
    return [(*shape[:axis], *indices, *shape[axis + 1 :])]


def reshape_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Reshape."""
    wanted = call.numbers(1, "shape")
    shape = call.shape()
    if wanted is None:
        raise UnknownSizeError("no target")
    found = [shape[i] if size == 0 and not call.get("allowzero", 0) else int(size) for i, size in enumerate(wanted)]
    if -1 in found:
        rest = math.prod(size for size in found if size != -1)
        found[found.index(-1)] = math.prod(shape) // rest if rest else 0
    return [tuple(found)]


def flatten_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Flatten."""
    shape, axis = call.shape(), call.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return [(math.prod(shape[:axis]), math.prod(shape[axis:]))]


def transpose_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Transpose."""
    shape = call.shape()
    return [tuple(shape[axis] for axis in call.get("perm", None) or range(len(shape) - 1, -1, -1))]


def squeeze_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Squeeze."""
    shape, axes = call.shape(), call.numbers(1, "axes")
    gone = [i for i, size in enumerate(shape) if size == 1] if axes is None else [a % len(shape) for a in axes]
    return [tuple(size for i, size in enumerate(shape) if i not in gone)]


def unsqueeze_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Unsqueeze."""
    axes = call.numbers(1, "axes") or []
    found, rank = list(call.shape()), len(call.shape()) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        found.insert(axis, 1)
    return [tuple(found)]


def reduce_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Reduce."""
    shape, axes = call.shape(), call.numbers(1, "axes")
    if not axes:
        axes = [] if call.get("noop_with_empty_axes", 0) else list(range(len(shape)))
    gone, keep = {axis % len(shape) for axis in axes}, call.get("keepdims", 1)
    return [tuple(1 if i in gone else size for i, size in enumerate(shape) if keep or i not in gone)]


def arg_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Arg."""
    shape = call.shape()
    axis, keep = call.get("axis", 0) % max(len(shape), 1), call.get("keepdims", 1)
    return [(*shape[:axis], *([1] if keep else []), *shape[axis + 1 :])]


def top_k_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of TopK."""
    shape = list(call.shape())
    (count,) = call.numbers(1, "k") or (1,)
    axis = call.get("axis", -1)
    shape[axis] = min(int(count), shape[axis])
    return [tuple(shape)] * 2


def resize_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Resize."""
    shape = list(call.shape())
    old = call.node.operator == "Upsample" or len(call.node.inputs) == 2
    axes = [axis % len(shape) for axis in call.get("axes", None) or range(len(shape))]
    sizes = [] if old or not call.has(3) else call.numbers(3, "") or []
    scales = call.numbers(1 if old else 2, "scales") or []
    if len(sizes or scales) != len(axes):
        raise UnknownSizeError("no size for each dimension")
    for position, axis in enumerate(axes):
        shape[axis] = int(sizes[position]) if sizes else math.floor(shape[axis] * scales[position])
    return [tuple(shape)]


def pad_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Pad."""
    shape, pads = list(call.shape()), call.numbers(1, "pads") or []
    axes = list(call.value(3).ravel().tolist()) if call.has(3) else list(range(len(shape)))
    if len(pads) != 2 * len(axes):
        raise UnknownSizeError("pads of other dimensions")
    for position, axis in enumerate(axes):
        shape[axis] += pads[position] + pads[position + len(axes)]
    return [tuple(shape)]


def expand_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Expand."""
    return [broadcast(call.shape(), tuple(map(int, call.value(1).ravel().tolist())))]


def tile_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Tile."""
    repeats = map(int, call.value(1).ravel().tolist())
    return [tuple(size * count for size, count in zip(call.shape(), repeats, strict=True))]


def constant_of_shape_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of ConstantOfShape."""
    return [tuple(map(int, call.value(0).ravel().tolist()))]


def range_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Range."""
    start, limit, step = (call.value(i).item() for i in range(3))
    return [(max(math.ceil((limit - start) / step), 0),)]


def constant_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of Constant."""
    tensor = call.get("value", None)
    if isinstance(tensor, StoredTensor):
        return [tensor.shape]
    several = call.get("value_ints", None) or call.get("value_floats", None)
    return [() if several is None else (len(several),)]


def one_hot_shapes(call: Call) -> list[Shape]:
    """Return the output shapes of OneHot."""
    shape, depth = call.shape(), int(call.value(1).item())
    axis = call.get("axis", -1) % (len(shape) + 1)
    return [(*shape[:axis], depth, *shape[axis:])]
