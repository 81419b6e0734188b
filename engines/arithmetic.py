"""What a graph is computed in, in the words that cards, benchmarks and reports use."""

from __future__ import annotations

from hrnet_deploy.artifact.onnx_header import OnnxHeader


def arithmetic_of(header: OnnxHeader, *, half: str, single: str = "float32") -> str:
    """Name the arithmetic of a graph on a runtime.

    Args:
        header: of the graph.
        half: what the runtime computes float16 nodes in.
        single: what it computes float32 nodes in.

    Returns:
        Such as "float32", "bfloat16" or "int8 and float32".
    """
    floats = half if header.half else single
    return f"int8 and {floats}" if header.quantised else floats
