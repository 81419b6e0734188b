"""FP16: which nodes must stay in float32 is measured, not guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.opening import open_engine
from hrnet_deploy.pipeline.filling import filled

if TYPE_CHECKING:
    import onnx


def beyond_half(graph: onnx.ModelProto, batches: Iterable[NDArray[np.float32]]) -> frozenset[str]:
    """Run a float32 graph and find the nodes whose values half precision cannot hold.

    Args:
        graph: left as it is.
        batches: network inputs, float32 (N, 3, H, W).

    Returns:
        Names of nodes to keep in float32.
    """
    from hrnet_deploy.exporters.ranges import beyond_fp16, with_absmax

    tapped, taps = with_absmax(graph)
    engine = open_engine(tapped, device="cpu", backend="onnxruntime", in_order=True)
    del tapped
    spec = engine.inputs[0]
    absmax = dict.fromkeys(taps.values(), 0.0)
    for batch in batches:
        for tap, value in engine.run({spec.name: filled(batch, spec)}).items():
            absmax[taps[tap]] = max(absmax[taps[tap]], float(np.float64(value)))
    engine.close()
    return beyond_fp16(graph, absmax)
