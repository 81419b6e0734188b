"""Names of a graph's arithmetic in cards, benchmarks and reports."""

from __future__ import annotations

from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.system.processor import is_arm


def arithmetic_of(header: OnnxHeader, *, half: str, single: str = "float32") -> str:
    """Return such as "float32" or "int8 and float32", given the runtime's types for float16 and float32 nodes."""
    floats = half if header.half else single
    return f"int8 and {floats}" if header.quantized else floats


def onnxruntime_cpu_arithmetic(header: OnnxHeader) -> str:
    """Name the arithmetic of a graph on ONNX Runtime's CPU kernels, which on x86 compute float16 nodes in float32."""
    return arithmetic_of(header, half="float16" if is_arm() else "float32")
