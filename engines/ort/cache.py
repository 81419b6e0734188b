"""INT8 graphs as ONNX Runtime optimized them at an earlier start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime

from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.engines.compiled_cache import compiled_folder, open_cached
from hrnet_deploy.engines.ort.providers import CPU
from hrnet_deploy.engines.ort.session import open_session
from hrnet_deploy.system.processor import processor_key

_FILE = "net.onnx"


def open_optimized(model: Path, name: str, header: OnnxHeader, options: Callable[[], Any]) -> Any:
    """Open an INT8 graph on the CPU from the cache, or optimize it and add it to the cache."""
    # Optimizing takes half the start of an INT8 graph. In FP32, reading the file for its digest would cost the gain.

    def reopen(folder: Path) -> Any:
        settings = options()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return open_session(folder / _FILE, name, settings, [CPU])

    def create(folder: Path | None) -> Any:
        settings = options()
        settings.optimized_model_filepath = str(folder / _FILE) if folder else ""
        return open_session(model, name, settings, [CPU])

    # Fusions depend on the available kernels, and so on the CPU.
    versions = (onnxruntime.__version__, processor_key())
    folder = None if header.external else compiled_folder("onnxruntime", model, *versions)
    return open_cached(folder, "optimized", reopen=reopen, create=create)
