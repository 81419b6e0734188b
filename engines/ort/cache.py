"""INT8 graphs as ONNX Runtime optimised them at an earlier start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime

from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.engines.compiled_cache import compiled_folder, open_kept, processor
from hrnet_deploy.engines.ort.providers import CPU
from hrnet_deploy.engines.ort.session import open_session

_FILE = "net.onnx"


def open_optimised(model: Path, name: str, options: Callable[[], Any]) -> Any:
    """Open a graph on the CPU as ONNX Runtime optimised it at its first start, or optimise and keep it now.

    For INT8 graphs, whose optimisation takes half the time of opening; in FP32 reading the file to know it by its
    content costs what would be gained.

    Args:
        model: an .onnx file.
        name: of the artefact, for the error.
        options: makes the session's onnxruntime.SessionOptions.

    Returns:
        onnxruntime.InferenceSession.

    Raises:
        ArtifactError: ONNX Runtime cannot open it.
    """

    def reopen(kept: Path) -> Any:
        done = options()
        done.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return open_session(kept / _FILE, name, done, [CPU])

    def make(folder: Path | None) -> Any:
        writing = options()
        writing.optimized_model_filepath = str(folder / _FILE) if folder else ""
        return open_session(model, name, writing, [CPU])

    # What is fused depends on the kernels there are, and so on the CPU.
    versions = (onnxruntime.__version__, processor())
    folder = None if read_header(model).external else compiled_folder("onnxruntime", model, *versions)
    return open_kept(folder, "optimised", reopen=reopen, make=make)
