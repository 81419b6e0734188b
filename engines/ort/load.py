"""Which runtime an .onnx file runs on."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.engines.openvino.preference import prefers_openvino
from hrnet_deploy.engines.streams import streams_for
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError
from hrnet_deploy.protocols import Engine

_LOG = logging.getLogger(__name__)


def open_onnx(
    model: Path | bytes, *, device: str, backend: str, threads: int | None, lanes: int | None, in_order: bool
) -> Engine:
    """Open an ONNX graph.

    Args:
        model: an .onnx file, or the bytes of one.
        device: "cpu", "cuda", "cuda:N" or "auto".
        backend: "auto", "onnxruntime", "onnxruntime-trt", "onnxruntime-rtx" or "openvino".
        threads: CPU threads; None for all cores.
        lanes: runs side by side on the CPU; None for what suits the machine and the graph.
        in_order: run the nodes as listed.

    Returns:
        The engine.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: it cannot be read.
        DeviceError: the device is not there, or cannot run this graph.
        UsageError: an unknown device, or one the backend does not serve, or lanes below 1.
        MissingDependencyError: the backend is not installed.
    """
    if backend == "onnxruntime-rtx":
        from hrnet_deploy.engines.ort.rtx import RtxPluginEngine

        return RtxPluginEngine(model, device=device, threads=threads)
    free = backend == "auto" and isinstance(model, Path) and not in_order and device in {"auto", "cpu"}
    # Graphs in the making are opened often, and walking through one takes tens of milliseconds.
    header = read_header(model) if free or lanes is None else OnnxHeader()
    lanes = streams_for(header.inputs, lanes=lanes, threads=threads)
    if backend == "openvino":
        from hrnet_deploy.engines.openvino.engine import OpenVinoEngine

        return OpenVinoEngine(model, device=device, threads=threads, lanes=lanes)
    if free and prefers_openvino(header):
        # An INT8 graph never runs on the CUDA provider.
        if device == "auto" and not header.quantised and _built_for_gpu():
            try:
                return _on_onnxruntime(model, "cuda", backend, threads, lanes, in_order=in_order)
            except DeviceError as error:
                _LOG.warning("running on the CPU: %s", error)
        from hrnet_deploy.engines.openvino.engine import OpenVinoEngine

        try:
            return OpenVinoEngine(model, device="cpu", threads=threads, lanes=lanes)
        except (ArtifactError, DeviceError, MissingDependencyError) as error:
            # Nobody asked for it by name; whether the file itself is sound the plain engine will say.
            _LOG.warning("running without OpenVINO: %s", error)
    return _on_onnxruntime(model, device, backend, threads, lanes, in_order=in_order)


def _on_onnxruntime(
    model: Path | bytes, device: str, backend: str, threads: int | None, lanes: int, *, in_order: bool
) -> Engine:
    try:
        from hrnet_deploy.engines.ort.engine import OrtEngine
    except ImportError as error:
        raise MissingDependencyError(
            f"running .onnx needs ONNX Runtime or OpenVINO, got: {error}. "
            "pip install 'hrnet-deploy[cpu]' (or [openvino], [gpu])."
        ) from error
    return OrtEngine(model, device=device, threads=threads, lanes=lanes, in_order=in_order, backend=backend)


def _built_for_gpu() -> bool:
    """Whether ONNX Runtime's CUDA provider is installed, found by its file: importing takes longer than looking."""
    found = importlib.util.find_spec("onnxruntime")
    folders = found.submodule_search_locations if found else None
    return any(
        path for folder in folders or () for path in (Path(folder) / "capi").glob("*onnxruntime_providers_cuda*")
    )
