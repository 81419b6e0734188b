"""ONNX opset and IR version of a graph."""

from __future__ import annotations

import onnx

from hrnet_deploy.errors import ExportError, UsageError

MIN_OPSET = 17
"""TensorRT 8.6 reads no newer one."""
DEFAULT_OPSET = 20
"""The newest that TensorRT 10.0 reads; 19 is the first with FP16 scales in Q/DQ."""
TRACE_MAX_OPSET = 20
"""The newest that the TorchScript tracer writes."""


def newest() -> int:
    """The newest opset the installed onnx knows as released.

    Returns:
        Opset of the default domain.
    """
    return int(onnx.defs.onnx_opset_version())


def check(opset: int) -> int:
    """Refuse an opset that cannot be written.

    Args:
        opset: wanted version.

    Returns:
        The same.

    Raises:
        UsageError: out of range.
    """
    if not MIN_OPSET <= opset <= newest():
        raise UsageError(f"opset must be {MIN_OPSET} to {newest()}, got {opset}. The default is {DEFAULT_OPSET}.")
    return opset


def written(model: onnx.ModelProto) -> int:
    """The opset a graph really declares.

    Args:
        model: any ONNX model.

    Returns:
        Version of the default domain, 0 if it declares none.
    """
    return max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)


def convert(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Bring a graph to an opset, with the oldest IR version that can hold it (old runtimes refuse newer ones).

    Args:
        model: any ONNX model.
        opset: wanted version.

    Returns:
        The model, changed in place where it already had that opset.

    Raises:
        ExportError: onnx cannot convert it.
    """
    if written(model) != opset:
        try:
            model = onnx.version_converter.convert_version(model, opset)
        except Exception as error:  # the converter raises bare RuntimeErrors and worse
            reason = " ".join(str(error).split())
            raise ExportError(
                f"graph must convert to opset {opset}, got {reason}. Ask for {written(model)}."
            ) from error
    # Other domains have no say in the IR version, and onnx knows only its own.
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return model
