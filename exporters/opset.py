"""ONNX opset and IR version of a graph."""

from __future__ import annotations

import functools

import onnx

from hrnet_deploy.errors import ExportError, UsageError, one_line

MIN_OPSET = 17
"""TensorRT 8.6 reads no newer one."""
DEFAULT_OPSET = 20
"""The newest that TensorRT 10.0 reads; 19 is the first with FP16 scales in Q/DQ."""
TRACE_MAX_OPSET = 20
"""The newest that the TorchScript tracer writes."""
_RESIZE_OPSET = 11
"""The first whose Resize says where it samples. Source: ONNX operator changelog, Resize."""


@functools.cache
def newest() -> int:
    """Find the newest opset that the installed onnx writes and the installed ONNX Runtime opens, by trying."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    for opset in range(int(onnx.defs.onnx_opset_version()), MIN_OPSET, -1):
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001, S112 - ONNX Runtime's own types share no base but Exception
            continue
        return opset
    return MIN_OPSET


def newest_ir() -> int:
    """Return the IR version that the newest such opset needs."""
    return int(onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", newest())]))


def check(opset: int) -> int:
    """Return the opset; raise UsageError where it cannot be written."""
    if not MIN_OPSET <= opset <= newest():
        raise UsageError(
            f"opset must be {MIN_OPSET} to {newest()}, got {opset}. The default is {DEFAULT_OPSET}; the installed "
            f"ONNX Runtime opens {newest()} at most."
        )
    return opset


def written(model: onnx.ModelProto) -> int:
    """Return the opset that a graph declares, 0 without one."""
    return max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)


def has_old_resize(model: onnx.ModelProto) -> bool:
    """Whether a graph has Resize or Upsample nodes as opsets 7 to 10 define them."""
    return written(model) < _RESIZE_OPSET and any(n.op_type in {"Resize", "Upsample"} for n in model.graph.node)


def _sample_as_before(model: onnx.ModelProto) -> None:
    """Write the coordinates of opset 10 into Resize nodes; onnx's converter leaves them to a newer default."""
    for node in model.graph.node:
        if node.op_type != "Resize":
            continue
        kept = [a for a in node.attribute if a.name not in {"coordinate_transformation_mode", "nearest_mode"}]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.append(onnx.helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        node.attribute.append(onnx.helper.make_attribute("nearest_mode", "floor"))


def convert(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert a graph to an opset, with the oldest IR version that can hold it (old runtimes refuse newer ones).

    A graph that already has that opset is changed in place.

    Raises:
        ExportError: onnx cannot convert it.
    """
    before = written(model)
    if before != opset:
        try:
            model = onnx.version_converter.convert_version(model, opset)
        except Exception as error:  # the converter raises bare RuntimeErrors and worse
            reason = one_line(error)
            raise ExportError(
                f"graph must convert to opset {opset}, got {reason}. Ask for {written(model)}."
            ) from error
    if before < _RESIZE_OPSET <= opset:
        _sample_as_before(model)
    # Other domains have no say in the IR version, and onnx knows only its own.
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return model
