"""Graph simplification."""

from __future__ import annotations

from typing import Any

import onnx

from hrnet_deploy.errors import ExportError, MissingDependencyError, one_line
from hrnet_deploy.exporters.resize import resize_by_scales


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, remove unused nodes, and replace Resize targets by whole factors; the result is a new model.

    Raises:
        ExportError: the simplifier reports failure.
        MissingDependencyError: onnxsim is not installed.
    """
    onnxsim = _onnxsim()
    try:
        simplified, _ = onnxsim.simplify(model, check_n=0)
    except Exception as error:  # C++ errors arrive as bare RuntimeErrors
        reason = one_line(error)
        raise ExportError(f"graph must simplify, got {reason}. Use --no-simplify.") from error
    if resize_by_scales(simplified):
        # The shape arithmetic of the old targets is unused now.
        simplified, _ = onnxsim.simplify(simplified, check_n=0)
    result: onnx.ModelProto = simplified
    return result


def _onnxsim() -> Any:
    try:
        import onnxsim
    except ImportError as error:
        raise MissingDependencyError(
            f"simplifying a graph needs onnxsim, got: {error}. pip install onnxsim, or use --no-simplify."
        ) from error
    return onnxsim
