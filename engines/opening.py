"""Which engine opens which artefact."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import ArtifactError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.protocols import Engine

BACKENDS = ("auto", "onnxruntime", "onnxruntime-trt", "openvino")


def open_engine(
    model: Path | bytes,
    *,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    in_order: bool = False,
) -> Engine:
    """Open an artefact with the runtime its kind asks for.

    Args:
        model: an .onnx file, or the bytes of one.
        device: "cpu", "cuda", "cuda:N" or "auto".
        backend: "auto"; "onnxruntime" on its own CPU or CUDA kernels; "onnxruntime-trt" with its TensorRT provider;
            "openvino" with its OpenVINO plugin. "auto" is "onnxruntime" on a GPU; on a CPU it is OpenVINO for an INT8
            graph where the plugin is installed.
        threads: CPU threads for one run; None for all cores.
        in_order: run the nodes as listed, which a graph with an output at every value needs to stay small.

    Returns:
        The engine.

    Raises:
        UsageError: an unknown backend or device.
        MissingFileError: there is no such file.
        ArtifactError: of no kind that can be run, or damaged.
        DeviceError: the device is not there.
        MissingDependencyError: the runtime is not installed.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend must be one of {', '.join(BACKENDS)}, got '{backend}'. Choose one.")
    if isinstance(model, Path):
        if model.is_dir() or not model.exists():
            raise MissingFileError(f"artefact must be a file, got {model}. Check the path.")
        if model.suffix != ".onnx":
            raise ArtifactError(f"artefact must be an .onnx file, got {model.name}. Export one with hrnet-export.")
    try:
        from hrnet_deploy.engines.ort_opening import open_onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"running .onnx needs ONNX Runtime, got: {error}. pip install 'hrnet-deploy[cpu]' (or [gpu])."
        ) from error
    return open_onnx(model, device=device, backend=backend, threads=threads, in_order=in_order)
