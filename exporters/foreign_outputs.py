"""The score output of a foreign graph, in the form of our own graphs."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from hrnet_deploy.errors import UsageError
from hrnet_deploy.exporters.graph_edit import replace_nodes
from hrnet_deploy.exporters.intermediate_outputs import needed
from hrnet_deploy.exporters.shape_inference import value_types

_FLAT = "/flat"


def keep_output(model: onnx.ModelProto, wanted: str | None, name: str) -> bool:
    """Remove all outputs but one, and the nodes that only they need.

    Args:
        model: changed in place.
        wanted: name of the output; None where the graph has only one.
        name: the file, for errors.

    Returns:
        Whether anything changed.

    Raises:
        UsageError: several outputs and no name, or an output that the graph does not have.
    """
    graph = model.graph
    outputs = {value.name: value for value in graph.output}
    if wanted is not None and wanted not in outputs:
        raise UsageError(f"--graph-output must be one of {_listed(model)} in {name}, got '{wanted}'. Name one.")
    if len(outputs) == 1:
        return False
    if wanted is None:
        last = list(outputs)[-1]
        raise UsageError(
            f"{name} must have one output of scores, got {len(outputs)}: {_listed(model)}. Name the one that holds "
            f"them, such as --graph-output {last}; HRNet-OCR's own evaluation takes its last, and feature maps are "
            "no scores."
        )
    replace_nodes(graph, needed(list(graph.node), frozenset({wanted})))
    output = onnx.ValueInfoProto.FromString(outputs[wanted].SerializeToString())
    del graph.output[:]
    graph.output.append(output)
    return True


def flatten_scores(model: onnx.ModelProto, output_shape: tuple[int, ...] | None) -> bool:
    """Turn scores (N, classes, 1, 1), as a head of 1x1 convolutions gives them, into (N, classes).

    Args:
        model: changed in place.
        output_shape: shape of its output for an image; None to use the declared one.

    Returns:
        Whether the graph had such an output.
    """
    graph = model.graph
    output = graph.output[0]
    kind = value_types(model).get(output.name, output.type.tensor_type)
    sizes = output_shape or tuple(dim.dim_value for dim in kind.shape.dim)
    if len(sizes) < 3 or any(size != 1 for size in sizes[2:]):
        return False
    name = f"{output.name}{_FLAT}"
    graph.node.append(helper.make_node("Flatten", [output.name], [name], f"{name}/Flatten", axis=1))
    batch = next((dim.dim_value or dim.dim_param or None for dim in kind.shape.dim), None)
    flat = helper.make_tensor_value_info(name, kind.elem_type or TensorProto.FLOAT, [batch, sizes[1] or None])
    del graph.output[:]
    graph.output.append(flat)
    return True


def declare_classes(model: onnx.ModelProto, output_shape: tuple[int, ...]) -> None:
    """Write the number of classes into the first output where it is open, as after a Reshape.

    Args:
        model: changed in place.
        output_shape: shape of its output for an image.
    """
    output = model.graph.output[0]
    dims = output.type.tensor_type.shape.dim
    declared = [dim.dim_value or dim.dim_param or None for dim in dims] or [None] * len(output_shape)
    if len(declared) == len(output_shape) > 1 and not isinstance(declared[1], int):
        declared[1] = output_shape[1]
        output.CopyFrom(helper.make_tensor_value_info(output.name, output.type.tensor_type.elem_type, declared))


def _listed(model: onnx.ModelProto) -> str:
    types = value_types(model)
    return ", ".join(
        f"{value.name} {_shape(types.get(value.name, value.type.tensor_type))}" for value in model.graph.output
    )


def _shape(kind: onnx.TypeProto.Tensor) -> str:
    return "(" + ", ".join(str(d.dim_value or d.dim_param or "?") for d in kind.shape.dim) + ")"
