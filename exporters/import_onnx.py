"""Inspection of a foreign graph: its input and output."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto

from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.spec import ShapeRange

_NORMALIZERS = {"Softmax", "Sigmoid"}
_PASSIVE = {"Identity", "Cast", "Resize", "Reshape", "Flatten", "Squeeze", "Transpose"}
_SCORE_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16}


@dataclass(frozen=True)
class Findings:
    """Properties of a foreign graph.

    Attributes:
        num_classes: dimension 1 of the first output.
        fixed_hw: the only image size it takes, or None.
        fixed_batch: the only batch it takes, or None.
        normalized: whether the output is probabilities (a softmax or sigmoid ends the graph).
    """

    num_classes: int
    fixed_hw: tuple[int, int] | None
    fixed_batch: int | None
    normalized: bool


def examine(model: onnx.ModelProto, name: str) -> Findings:
    """Read a foreign graph's input and output; `name` is the file, for errors.

    Raises:
        ArtifactError: the input is not float32 (N, 3, H, W), the first output is no float, or its dimension 1 is open.
    """
    dims = check_input(model, name)
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    output_type = inferred.output[0].type.tensor_type.elem_type
    if output_type not in _SCORE_TYPES:
        kind = TensorProto.DataType.Name(output_type)
        raise ArtifactError(f"{name} must compute a score for each class, got {kind}. Cut off what follows them.")
    output = [d.dim_value for d in inferred.output[0].type.tensor_type.shape.dim]
    if len(output) < 2 or not output[1]:
        raise ArtifactError(f"{name} must have a fixed number of classes in dimension 1, got {output}. Export it so.")
    return Findings(
        num_classes=output[1],
        fixed_hw=(dims[2], dims[3]) if dims[2] and dims[3] else None,
        fixed_batch=dims[0] or None,
        normalized=_ends_normalized(graph),
    )


def check_input(model: onnx.ModelProto, name: str) -> list[int]:
    """Return the sizes of the input, 0 where one is open; `name` is the file, for errors.

    Raises:
        ArtifactError: the input is not float32 (N, 3, H, W).
    """
    tensor = model.graph.input[0].type.tensor_type
    dims = [d.dim_value for d in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or len(dims) != 4 or dims[1] not in {0, 3}:
        kind = TensorProto.DataType.Name(tensor.elem_type)
        advice = _advice(tensor.elem_type, dims)
        raise ArtifactError(f"{name} must take float32 (N, 3, H, W), got {kind} {dims}. {advice}")
    return dims


def _advice(elem_type: int, dims: list[int]) -> str:
    """Advise what to do about an input that is no planar float image."""
    if len(dims) != 4:
        return "Export it with a batch, channels, height and width."
    if dims[3] in {1, 3, 4} and dims[1] not in {1, 3, 4}:
        return "The channels come last: export it in planes, as with tf2onnx --inputs-as-nchw."
    if elem_type == TensorProto.UINT8:
        return "Its normalization is inside: export it without, and give --pixels-in to have it added here."
    if elem_type != TensorProto.FLOAT:
        return "Export it in float32; --precision fp16 makes the half precision here."
    if dims[1] == 1:
        return "It takes gray images (in_chans=1): sum its first weights over three channels, or train on RGB."
    return f"It takes {dims[1]} channels (in_chans={dims[1]}): an image has three; export a model for RGB."


def reshape(model: onnx.ModelProto, shapes: ShapeRange) -> onnx.ModelProto:
    """Write sizes into the open dimensions of a graph, in place, and infer output shapes.

    Dimensions of `shapes` that may vary get a name, the others a number.
    """
    dims = model.graph.input[0].type.tensor_type.shape.dim
    n, h, w = shapes.opt_nhw
    sizes: list[int | str] = [
        "batch" if shapes.dynamic_batch else n,
        3,
        *(("height", "width") if shapes.dynamic_hw else (h, w)),
    ]
    for dim, value in zip(dims, sizes, strict=True):
        if isinstance(value, str):
            dim.dim_param = value
        else:
            dim.dim_value = value
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim[2:]:
            if not dim.dim_value:
                dim.Clear()
    if shapes.dynamic_batch:
        for output in model.graph.output:
            for dim in output.type.tensor_type.shape.dim[:1]:  # a scalar has none
                dim.dim_param = "batch"
    return onnx.shape_inference.infer_shapes(model)


def _ends_normalized(graph: onnx.GraphProto) -> bool:
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSIVE:
        node = producers.get(node.input[0])
    return node is not None and node.op_type in _NORMALIZERS
