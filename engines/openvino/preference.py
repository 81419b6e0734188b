"""The default choice of OpenVINO for a graph, and of its half precision."""

from __future__ import annotations

import math

from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.engines.graph import graph_card
from hrnet_deploy.engines.openvino.runtime import is_installed
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import Precision

_MIN_VALUES = 3 * 128 * 128


def prefers_openvino(header: OnnxHeader) -> bool:
    """Return whether OpenVINO is installed and the faster runtime for a graph on a CPU."""
    if not header.inputs or not is_installed():
        return False
    card = graph_card(header)
    # An INT8 graph laid out for TensorRT predicts its outputs only where each Q/DQ pair is computed as written.
    # OpenVINO moves the pairs over sums: 98.7 % instead of 99.6 % of the street model's pixels.
    if card is not None and card.quantization is not None and card.quantization.target is QdqTarget.TENSORRT:
        return False
    # Tiny images are faster in ONNX Runtime; open sizes are usually those of photos.
    images = [shape[1:] for shape in header.inputs.values()]
    return any(any(isinstance(n, str) for n in image) or math.prod(map(int, image)) >= _MIN_VALUES for image in images)


def computes_in_half(header: OnnxHeader) -> bool:
    """Return whether a graph has float16 weights and its card does not state FP32."""
    card = graph_card(header)
    return header.half and (card is None or card.precision is not Precision.FP32)
