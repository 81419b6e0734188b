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
    for opset in range(int(onnx.defs.onnx_opset_version()), MIN_OPSET, -1):
        head = f'ir_version: {ir_for(opset)}, opset_import: ["" : {opset}]'
        model = onnx.parser.parse_model(f"<{head}> g (float[1] x) => (float[1] y) {{ y = Identity(x) }}")
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001, S112 - ONNX Runtime's own types share no base but Exception
            continue
        return opset
    return MIN_OPSET


def ir_for(opset: int) -> int:
    """Return the IR version that an opset needs."""
    return int(onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]))


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


def convert(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert a graph to an opset, with the oldest IR version that can hold it (old runtimes refuse newer ones).

    A graph that already has that opset is changed in place; ExportError if onnx cannot convert it.
    """
    before = written(model)
    if before != opset:
        try:
            model = onnx.version_converter.convert_version(model, opset)
        except Exception as error:  # the converter raises bare RuntimeErrors and worse
            reason = one_line(error)
            raise ExportError(f"graph must convert to opset {opset}, got {reason}. Ask for {before}.") from error
    if before < _RESIZE_OPSET <= opset:
        # Resize samples as in opset 10; onnx's converter leaves that to a newer default.
        modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        for node in (node for node in model.graph.node if node.op_type == "Resize"):
            kept = [a for a in node.attribute if a.name not in modes]
            del node.attribute[:]
            node.attribute.extend([*kept, *(onnx.helper.make_attribute(*mode) for mode in modes.items())])
    # Other domains have no say in the IR version, and onnx knows only its own.
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return model
