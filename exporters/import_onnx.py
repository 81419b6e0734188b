"""A foreign graph: its one output of scores in the form of our own graphs, and what its input and output state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.exporters.graph_edit import dims_of, replace_nodes, replace_outputs, value_types
from hrnet_deploy.exporters.intermediate_outputs import needed
from hrnet_deploy.spec import ShapeRange

_FLAT = "/flat"
_NORMALIZERS = {"Softmax", "Sigmoid"}
_PASSIVE = {"Identity", "Cast", "Resize", "Reshape", "Flatten", "Squeeze", "Transpose"}
_OWN_NAMES = frozenset({"labels", "scores", "probabilities"})
"""Outputs that `output_head` adds."""
_SCORE_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16}


@dataclass(frozen=True)
class Findings:
    """Properties of a foreign graph; a fixed size or batch is the only one.

    Attributes:
        num_classes: dimension 1 of the scores; 0 without scores.
    """

    num_classes: int
    fixed_hw: tuple[int, int] | None
    fixed_batch: int | None
    normalized: bool


def keep_outputs(model: onnx.ModelProto, wanted: str | None, features: Sequence[str], name: str) -> None:
    """Keep the output that holds the scores, named or the only one, and behind it those that hold features, in place.

    Nodes that only others need are removed. Without an output of scores the features remain.
    """
    graph = model.graph
    outputs = {value.name: value for value in graph.output}
    for feature in features:
        if feature not in outputs or feature == wanted:
            raise UsageError(
                f"--features must be other outputs of {name}: {_listed(model)}, got '{feature}'. Name one."
            )
        if feature in _OWN_NAMES:
            raise UsageError(f"a feature of {name} must have a name of its own, got '{feature}'. Rename that output.")
        if outputs[feature].type.tensor_type.elem_type != TensorProto.FLOAT:
            raise ArtifactError(f"a feature of {name} must be float32, got another type of '{feature}'. Export it so.")
    if wanted is not None and wanted not in outputs:
        raise UsageError(f"--graph-output must be one of {_listed(model)} in {name}, got '{wanted}'. Name one.")
    scores = [wanted] if wanted is not None else [one for one in outputs if one not in features]
    if len(scores) > 1:
        last = scores[-1]
        raise UsageError(
            f"{name} must have one output of scores, got {len(outputs)}: {_listed(model)}. Name the one that holds "
            f"them, such as --graph-output {last}; HRNet-OCR's own evaluation takes its last, and feature maps are "
            "no scores: --features names them."
        )
    kept = [*scores, *features]
    if len(kept) == len(outputs) == 1:
        return
    replace_nodes(graph, needed(list(graph.node), frozenset(kept)))
    copies = [onnx.ValueInfoProto.FromString(outputs[one].SerializeToString()) for one in kept]
    del graph.output[:]
    graph.output.extend(copies)


def drop_outputs(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Remove outputs of a graph in place; the nodes that compute them stay."""
    kept = [
        onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in model.graph.output if one.name not in names
    ]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def flatten_scores(model: onnx.ModelProto, output_shape: tuple[int, ...] | None) -> bool:
    """Flatten scores (N, classes, 1, 1) to (N, classes) in place; return whether the output, or its type, is such."""
    graph = model.graph
    output = graph.output[0]
    kind = value_types(model).get(output.name, output.type.tensor_type)
    sizes = output_shape or tuple(dim.dim_value for dim in kind.shape.dim)
    if len(sizes) < 3 or any(size != 1 for size in sizes[2:]):
        return False
    name = f"{output.name}{_FLAT}"
    graph.node.append(helper.make_node("Flatten", [output.name], [name], f"{name}/Flatten", axis=1))
    batch = next(iter(dims_of(kind)), None)
    features = [onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in graph.output[1:]]
    replace_outputs(graph, (name, kind.elem_type or TensorProto.FLOAT, [batch, sizes[1] or None]))
    graph.output.extend(features)
    return True


def declare_classes(model: onnx.ModelProto, output_shape: tuple[int, ...]) -> None:
    """Write the number of classes into the first output where it is open, as after a Reshape, in place."""
    output = model.graph.output[0]
    kind = output.type.tensor_type
    declared = dims_of(kind) or [None] * len(output_shape)
    if len(declared) == len(output_shape) > 1 and not isinstance(declared[1], int):
        declared[1] = output_shape[1]
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind.elem_type, declared))


def examine(model: onnx.ModelProto, name: str, *, headless: bool = False) -> Findings:
    """Read a foreign graph's input and output; refuse one that computes no scores of a known number of classes."""
    dims = check_input(model, name)
    fixed_hw = (dims[2], dims[3]) if dims[2] and dims[3] else None
    if headless:
        return Findings(0, fixed_hw, dims[0] or None, normalized=False)
    kind = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type
    if kind.elem_type not in _SCORE_TYPES:
        found = TensorProto.DataType.Name(kind.elem_type)
        raise ArtifactError(f"{name} must compute a score for each class, got {found}. Cut off what follows them.")
    output = [dim.dim_value for dim in kind.shape.dim]
    if len(output) < 2 or not output[1]:
        raise ArtifactError(f"{name} must have a fixed number of classes in dimension 1, got {output}. Export it so.")
    producers = {name: node for node in model.graph.node for name in node.output}
    last = producers.get(model.graph.output[0].name)
    while last is not None and last.op_type in _PASSIVE:
        last = producers.get(last.input[0])
    return Findings(output[1], fixed_hw, dims[0] or None, last is not None and last.op_type in _NORMALIZERS)


def check_input(model: onnx.ModelProto, name: str) -> list[int]:
    """Return the sizes of the input, 0 where one is open; refuse all but float32 (N, 3, H, W)."""
    tensor = model.graph.input[0].type.tensor_type
    dims = [d.dim_value for d in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or len(dims) != 4 or dims[1] not in {0, 3}:
        kind = TensorProto.DataType.Name(tensor.elem_type)
        advice = _advice(tensor.elem_type, dims)
        raise ArtifactError(f"{name} must take float32 (N, 3, H, W), got {kind} {dims}. {advice}")
    return dims


def reshape(model: onnx.ModelProto, shapes: ShapeRange) -> onnx.ModelProto:
    """Write sizes into the open dimensions of a graph, or names where they may vary, in place, and infer shapes."""
    n, h, w = shapes.opt_nhw
    batch = "batch" if shapes.dynamic_batch else n
    sizes = (batch, 3, *(("height", "width") if shapes.dynamic_hw else (h, w)))
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, sizes, strict=True):
        setattr(dim, "dim_param" if isinstance(value, str) else "dim_value", value)
    for output in model.graph.output:
        dims = output.type.tensor_type.shape.dim
        for dim in dims[2:]:
            if not dim.dim_value:
                dim.Clear()
        for dim in dims[:1] if shapes.dynamic_batch else ():  # a scalar has none
            dim.dim_param = "batch"
    return onnx.shape_inference.infer_shapes(model)


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


def _listed(model: onnx.ModelProto) -> str:
    """List the outputs with their shapes."""
    types = value_types(model)
    shapes = {value.name: dims_of(types.get(value.name, value.type.tensor_type)) for value in model.graph.output}
    return ", ".join(f"{name} ({', '.join(str(dim or '?') for dim in dims)})" for name, dims in shapes.items())
