"""What a graph is computed in, in the words that cards, benchmarks and reports use."""

from __future__ import annotations

import platform

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


def onnxruntime_cpu_arithmetic(header: OnnxHeader) -> str:
    """Name the arithmetic of a graph on ONNX Runtime's CPU kernels, which on x86 compute float16 nodes in float32."""
    half = "float16" if platform.machine().lower() in {"aarch64", "arm64"} else "float32"
    return arithmetic_of(header, half=half)
