"""Which of ONNX Runtime's ways an .onnx file is run."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.engines.ort import OrtEngine
from hrnet_deploy.protocols import Engine


def open_onnx(model: Path | bytes, *, device: str, backend: str, threads: int | None, in_order: bool) -> Engine:
    """Open an ONNX graph.

    Args:
        model: an .onnx file, or the bytes of one.
        device: "cpu", "cuda", "cuda:N" or "auto".
        backend: "auto", "onnxruntime", "onnxruntime-trt" or "openvino".
        threads: CPU threads for one run; None for all cores.
        in_order: run the nodes as listed.

    Returns:
        The engine.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: it cannot be read.
        DeviceError: the device is not there, or cannot run this graph.
        UsageError: an unknown device, or one the backend does not serve.
        MissingDependencyError: the backend is not installed.
    """
    return OrtEngine(model, device=device, threads=threads, in_order=in_order, backend=backend)
