"""A foreign ONNX graph on ONNX Runtime's CPU provider."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, DeviceError
from hrnet_deploy.protocols import Engine

if TYPE_CHECKING:
    import onnx

_SUM_TOLERANCE = 1e-3
_LOG = logging.getLogger(__name__)


def opened(model: onnx.ModelProto, name: str) -> Engine:
    """Open a foreign graph; warn about old resize semantics and name unsupported operators."""
    from hrnet_deploy.exporters.opset import has_old_resize, written

    if has_old_resize(model):
        _LOG.warning(
            "%s: opset %d resizes otherwise than PyTorch's interpolate (asymmetric), so its outputs may be worse than "
            "its model's; they are kept as they are. Export it again with opset 11 or newer", name, written(model),
        )  # fmt: skip
    try:
        return open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime")
    except ArtifactError as error:
        known = {"", "ai.onnx"}
        domains = sorted({node.domain for node in model.graph.node} - known)
        about = f"It has operators of {', '.join(domains)}: export it without them" if domains else "Export it again"
        reason = str(error).partition(", got: ")[2] or str(error)
        raise ArtifactError(f"{name} must be a graph that ONNX Runtime runs, got: {reason}. {about}.") from error


def tried(engine: Engine) -> NDArray[np.float64] | None:
    """Run a foreign graph on one image of noise; None if it refuses the size."""
    shape = engine.inputs[0].shape
    sizes = [size if isinstance(size, int) else default for size, default in zip(shape, (1, 3, 224, 224), strict=True)]
    image = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    try:
        output = engine.run({engine.inputs[0].name: image})[engine.outputs[0].name]
    except DeviceError:
        return None
    return np.asarray(output, np.float64)


def sums_to_one(output: NDArray[np.float64]) -> bool:
    """Check whether the scores of two or more classes add up to 1 at every position."""
    if output.ndim < 2 or output.shape[1] < 2:
        return False
    return bool(output.min() >= 0 and np.abs(output.sum(axis=1) - 1).max() < _SUM_TOLERANCE)
