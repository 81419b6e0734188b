"""Graph simplification."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from hrnet_deploy.errors import ExportError, MissingDependencyError, one_line
from hrnet_deploy.exporters.graph_edit import value_types


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, remove unused nodes, and replace Resize targets by whole factors; the result is a new model."""
    try:
        import onnxsim
    except ImportError as error:
        raise MissingDependencyError(
            f"simplifying a graph needs onnxsim, got: {error}. pip install onnxsim, or use --no-simplify."
        ) from error
    simplified: onnx.ModelProto
    try:
        simplified, _ = onnxsim.simplify(model, check_n=0)
    except Exception as error:  # C++ errors arrive as bare RuntimeErrors
        reason = one_line(error)
        raise ExportError(f"graph must simplify, got {reason}. Use --no-simplify.") from error
    if resize_by_scales(simplified):
        # The shape arithmetic of the old targets is unused now.
        simplified, _ = onnxsim.simplify(simplified, check_n=0)
    return simplified


def resize_by_scales(model: onnx.ModelProto) -> bool:
    """Give Resize nodes constant factors where both sizes are known; return whether any node changed.

    Only nodes with a `sizes` input, no `axes`, static height and width on both sides, and whole factors: others could
    round to another size. Batch may stay dynamic, which saves a Shape-Slice-Concat chain per node.
    """
    sizes = {name: [d.dim_value for d in kind.shape.dim] for name, kind in value_types(model).items()}
    changed = False
    for node in model.graph.node:
        if node.op_type != "Resize" or len(node.input) < 4 or any(a.name == "axes" for a in node.attribute):
            continue
        source, target = sizes.get(node.input[0], []), sizes.get(node.output[0], [])
        if len(source) != 4 or len(target) != 4 or not all((*source[2:], *target[2:])):
            continue
        if any(t % s for s, t in zip(source[2:], target[2:], strict=True)):
            continue
        factors = np.array([1, 1, target[2] // source[2], target[3] // source[3]], np.float32)
        name = f"{node.output[0]}_scales"
        model.graph.initializer.append(numpy_helper.from_array(factors, name))
        node.input[:] = [node.input[0], "", name]
        changed = True
    return changed
