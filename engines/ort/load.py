"""The choice of the runtime for an .onnx file."""

from __future__ import annotations

import importlib.util
import logging
import math
from pathlib import Path

from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.engines.graph import graph_card
from hrnet_deploy.engines.openvino.runtime import is_installed
from hrnet_deploy.engines.streams import streams_for
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError
from hrnet_deploy.protocols import Engine
from hrnet_deploy.qdq_plan import QdqTarget

_LOG = logging.getLogger(__name__)
_MIN_VALUES = 3 * 128 * 128


def open_onnx(
    model: Path | bytes, *, device: str, backend: str, threads: int | None, streams: int | None, in_order: bool
) -> Engine:
    """Open an ONNX graph; the arguments and errors are those of `open_engine`."""
    if backend == "onnxruntime-rtx":
        from hrnet_deploy.engines.ort.rtx import RtxPluginEngine

        return RtxPluginEngine(model, device=device, threads=threads)
    # Bytes are temporary graphs: these are opened often, and reading a header takes tens of milliseconds.
    header = read_header(model) if isinstance(model, Path) or streams is None else None
    count = streams_for(header.inputs if header else {}, streams=streams, threads=threads)

    def onnxruntime(device: str) -> Engine:
        try:
            from hrnet_deploy.engines.ort.engine import OrtEngine
        except ImportError as error:
            raise MissingDependencyError(
                f"running .onnx needs ONNX Runtime or OpenVINO, got: {error}. "
                "pip install 'hrnet-deploy[cpu]' (or [openvino], [gpu])."
            ) from error
        return OrtEngine(
            model, device=device, threads=threads, streams=count, in_order=in_order, backend=backend, header=header
        )

    def openvino(device: str) -> Engine:
        from hrnet_deploy.engines.openvino.engine import OpenVinoEngine

        return OpenVinoEngine(model, device=device, threads=threads, streams=count, header=header)

    if backend == "openvino":
        return openvino(device)
    free = backend == "auto" and isinstance(model, Path) and not in_order and device in {"auto", "cpu"}
    if free and header and prefers_openvino(header):
        # The CUDA provider runs no INT8 graph.
        if device == "auto" and not header.quantized and _is_gpu_build():
            try:
                return onnxruntime("cuda")
            except DeviceError as error:
                _LOG.warning("running on the CPU: %s", error)
        try:
            return openvino("cpu")
        except (ArtifactError, DeviceError, MissingDependencyError) as error:
            # OpenVINO was not requested by name. Where the file itself is damaged, ONNX Runtime reports it.
            _LOG.warning("running without OpenVINO: %s", error)
    return onnxruntime(device)


def _is_gpu_build() -> bool:
    """Return whether ONNX Runtime's CUDA provider is installed, by its file: the import takes longer."""
    found = importlib.util.find_spec("onnxruntime")
    folders = [Path(folder, "capi") for folder in (found.submodule_search_locations or () if found else ())]
    return any(path for folder in folders for path in folder.glob("*onnxruntime_providers_cuda*"))


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
