"""Which engine opens which artefact."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.protocols import Engine

ONNX_BACKENDS = ("auto", "onnxruntime", "onnxruntime-trt", "onnxruntime-rtx", "openvino")
ENGINE_BACKENDS = ("auto", "tensorrt", "tensorrt-rtx")
ENGINE_SUFFIXES = frozenset({".engine", ".plan", ".trt"})


def open_engine(
    model: Path | bytes,
    *,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    lanes: int | None = 1,
    in_order: bool = False,
) -> Engine:
    """Open an artefact with the runtime its kind asks for.

    Args:
        model: an .onnx file, the bytes of one, or a TensorRT engine (.engine, .plan, .trt). Engines are code: load only
            those you trust.
        device: "cpu", "cuda", "cuda:N" or "auto".
        backend: "auto"; for an engine "tensorrt" or "tensorrt-rtx"; for .onnx "onnxruntime" on its own CPU or CUDA
            kernels, "onnxruntime-trt" with its TensorRT provider, "onnxruntime-rtx" with NVIDIA's TensorRT-RTX plugin
            (Ampere and later), or "openvino" on the CPU. "auto" is "onnxruntime" on a GPU; on a CPU it is OpenVINO
            where that is installed, except for tiny images.
        threads: CPU threads; None for all cores.
        lanes: runs side by side on the CPU, which share the threads: 1 for the lowest latency, more for more images a
            second; None for what suits the machine and the graph. On a GPU it is 1 whatever is asked.
        in_order: run the nodes as listed, which a graph with an output at every value needs to stay small.

    Returns:
        The engine.

    Raises:
        UsageError: an unknown backend or device, or lanes below 1.
        MissingFileError: there is no such file.
        ArtifactError: of no kind that can be run, or damaged.
        DeviceError: the device is not there.
        MissingDependencyError: the runtime is not installed.
    """
    suffix = model.suffix.lower() if isinstance(model, Path) else ".onnx"
    backends = ENGINE_BACKENDS if suffix in ENGINE_SUFFIXES else ONNX_BACKENDS
    if backend not in {*ONNX_BACKENDS, *ENGINE_BACKENDS}:
        known = ", ".join(dict.fromkeys((*ONNX_BACKENDS, *ENGINE_BACKENDS)))
        raise UsageError(f"backend must be one of {known}, got '{backend}'. Choose one.")
    if isinstance(model, Path) and not model.is_file():
        raise MissingFileError(f"artefact must be a file, got {model}. Check the path.")
    if suffix not in {".onnx", *ENGINE_SUFFIXES}:
        raise ArtifactError(f"artefact must be an .onnx or .engine file, got {model!s}. Export one with hrnet-export.")
    if backend not in backends:
        raise UsageError(f"backend of {model!s} must be one of {', '.join(backends)}, got '{backend}'. Choose one.")
    if isinstance(model, Path) and suffix in ENGINE_SUFFIXES:
        from hrnet_deploy.engines.tensorrt.engine import TrtEngine

        return TrtEngine(model, device=device, backend=backend)
    from hrnet_deploy.engines.ort.load import open_onnx

    return open_onnx(model, device=device, backend=backend, threads=threads, lanes=lanes, in_order=in_order)
