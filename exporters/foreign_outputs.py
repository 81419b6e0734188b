"""The output of somebody else's graph that holds the scores, brought to the form our own graphs have."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from hrnet_deploy.errors import UsageError
from hrnet_deploy.exporters.intermediate_outputs import needed
from hrnet_deploy.exporters.shape_inference import value_types

_FLAT = "/flat"


def keep_output(model: onnx.ModelProto, wanted: str | None, name: str) -> bool:
    """Leave one output, and the nodes that compute it.

    Args:
        model: changed in place.
        wanted: name of the output; None where the graph has but one.
        name: the file, for errors.

    Returns:
        Whether anything changed.

    Raises:
        UsageError: several outputs and none is named, or one that the graph does not have.
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
    kept = outputs[wanted]
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in needed(list(graph.node), frozenset({wanted}))]
    output = onnx.ValueInfoProto.FromString(kept.SerializeToString())
    del graph.output[:], graph.node[:]
    graph.output.append(output)
    graph.node.extend(nodes)
    return True


def flatten_scores(model: onnx.ModelProto, answered: tuple[int, ...] | None) -> bool:
    """Turn scores of (N, classes, 1, 1) into (N, classes), as a head of 1x1 convolutions gives them.

    Args:
        model: changed in place.
        answered: shape of its answer to an image; None to go by what the graph says.

    Returns:
        Whether it had such an output.
    """
    graph = model.graph
    output = graph.output[0]
    kind = value_types(model).get(output.name, output.type.tensor_type)
    sizes = answered or tuple(dim.dim_value for dim in kind.shape.dim)
    if len(sizes) < 3 or any(size != 1 for size in sizes[2:]):
        return False
    name = f"{output.name}{_FLAT}"
    graph.node.append(helper.make_node("Flatten", [output.name], [name], f"{name}/Flatten", axis=1))
    batch = next((dim.dim_value or dim.dim_param or None for dim in kind.shape.dim), None)
    flat = helper.make_tensor_value_info(name, kind.elem_type or TensorProto.FLOAT, [batch, sizes[1] or None])
    del graph.output[:]
    graph.output.append(flat)
    return True


def tell_classes(model: onnx.ModelProto, answered: tuple[int, ...]) -> None:
    """Write the number of classes into the first output where it is left open, as after a Reshape.

    Args:
        model: changed in place.
        answered: shape of its answer to an image.
    """
    output = model.graph.output[0]
    dims = output.type.tensor_type.shape.dim
    declared = [dim.dim_value or dim.dim_param or None for dim in dims] or [None] * len(answered)
    if len(declared) == len(answered) > 1 and not isinstance(declared[1], int):
        declared[1] = answered[1]
        output.CopyFrom(helper.make_tensor_value_info(output.name, output.type.tensor_type.elem_type, declared))


def _listed(model: onnx.ModelProto) -> str:
    types = value_types(model)
    return ", ".join(
        f"{value.name} {_shape(types.get(value.name, value.type.tensor_type))}" for value in model.graph.output
    )


def _shape(kind: onnx.TypeProto.Tensor) -> str:
    return "(" + ", ".join(str(d.dim_value or d.dim_param or "?") for d in kind.shape.dim) + ")"
