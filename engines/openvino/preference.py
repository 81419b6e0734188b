"""Which graphs run on OpenVINO by themselves, and which of them in half precision."""

from __future__ import annotations

import math

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.engines.openvino.runtime import installed
from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import ModelCard, Precision

_MIN_VALUES = 3 * 128 * 128


def prefers_openvino(header: OnnxHeader) -> bool:
    """Whether OpenVINO is the faster way to run a graph on this machine's CPU.

    Args:
        header: of the graph.

    Returns:
        True where the package is installed and images are not tiny; False for an INT8 graph laid out for TensorRT,
        whose outputs it predicts only where each Q/DQ pair is computed as written (OpenVINO moves them over sums:
        98.7 % instead of 99.6 % of the street net's pixels).
    """
    if not header.inputs or not installed():
        return False
    card = _card(header)
    if card is not None and card.quantization is not None and card.quantization.target is QdqTarget.TENSORRT:
        return False
    return any(_large(shape[1:]) for shape in header.inputs.values())


def computes_in_half(header: OnnxHeader) -> bool:
    """Whether a graph states half precision for what it does not compute in INT8.

    Args:
        header: of the graph.

    Returns:
        True for float16 weights, unless the card states FP32.
    """
    card = _card(header)
    return header.half and (card is None or card.precision is not Precision.FP32)


def _card(header: OnnxHeader) -> ModelCard | None:
    try:
        return card_from_metadata(header.metadata, "graph")
    except ArtifactError:
        return None


def _large(sizes: tuple[int | str, ...]) -> bool:
    """Whether one image is large enough; an open size may be anything, and is most often a photo's."""
    return any(isinstance(size, str) for size in sizes) or math.prod(map(int, sizes)) >= _MIN_VALUES
