"""What runtimes made of a graph, kept for the next start: one folder a graph, runtime, version and kind of CPU."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
from pathlib import Path
from typing import Any

import onnxruntime

from hrnet_deploy.artifact import sha256_file
from hrnet_deploy.engines.ort_providers import CPU
from hrnet_deploy.engines.ort_session import open_session
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.weights import weights_folder


def compiled_folder(runtime: str, model: Path | bytes, *versions: str) -> Path | None:
    """The folder for what a runtime compiles from a graph, beside the downloads in the user's cache.

    Args:
        runtime: such as "openvino".
        model: an .onnx file, or the bytes of one.
        versions: of everything whose change makes old files useless.

    Returns:
        An existing folder; None where there is no place to write, and nothing is kept.
    """
    content = sha256_file(model) if isinstance(model, Path) else hashlib.sha256(model).hexdigest()
    key = hashlib.sha256("\n".join((content, *versions)).encode()).hexdigest()[:32]
    try:
        folder = weights_folder().parent / "compiled" / f"{runtime}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UsageError):
        return None
    return folder


def open_optimised(model: Path, name: str, options: Any) -> Any:
    """Open a graph on the CPU as ONNX Runtime optimised it at its first start, or optimise and keep it now.

    For INT8 graphs, whose optimisation takes half the time of opening; in FP32 reading the file to know it by its
    content costs what would be gained.

    Args:
        model: an .onnx file.
        name: of the artefact, for the error.
        options: onnxruntime.SessionOptions; changed.

    Returns:
        onnxruntime.InferenceSession.

    Raises:
        ArtifactError: ONNX Runtime cannot open it.
    """
    # What is fused depends on the kernels there are, and so on the CPU.
    folder = compiled_folder("onnxruntime", model, onnxruntime.__version__, processor())
    if folder is None:
        return open_session(model, name, options, [CPU])
    kept = folder / "optimised.onnx"
    level = options.graph_optimization_level
    if kept.is_file():
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return open_session(kept, name, options, [CPU])
        except ArtifactError:
            kept.unlink(missing_ok=True)  # damaged; made again below
            options.graph_optimization_level = level
    fresh = folder / f"{os.getpid()}-{os.urandom(4).hex()}.onnx"
    options.optimized_model_filepath = str(fresh)
    try:
        session = open_session(model, name, options, [CPU])
        if fresh.is_file():
            fresh.replace(kept)
    except (ArtifactError, OSError):
        # A full disk is no reason not to run; a graph that cannot be opened fails here again.
        options.optimized_model_filepath = ""
        session = open_session(model, name, options, [CPU])
    finally:
        fresh.unlink(missing_ok=True)
    return session


@functools.cache
def processor() -> str:
    """What tells kinds of CPU apart: architecture, model and instruction sets.

    Returns:
        A text.
    """
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        content = ""
    lines = sorted(set(re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", content, re.MULTILINE)))
    return "\n".join((platform.machine(), platform.processor(), *lines))
