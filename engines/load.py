"""The choice of the engine for an artifact."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.protocols import Engine

ENGINE_SUFFIXES = frozenset({".engine", ".plan", ".trt"})
"""Suffixes of TensorRT engines."""

_ONNX_BACKENDS = ("auto", "onnxruntime", "onnxruntime-trt", "onnxruntime-rtx", "openvino")
_ENGINE_BACKENDS = ("auto", "tensorrt", "tensorrt-rtx")
_SERVER_BACKENDS = ("auto", "v2")


def open_engine(
    model: str | Path | bytes | RemoteModel,
    *,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    streams: int | None = 1,
    in_order: bool = False,
) -> Engine:
    """Open an artifact with the runtime for its kind.

    Args:
        model: an .onnx file, the bytes of one, a TensorRT engine (.engine, .plan, .trt), or a model on a V2 server: its
            URL or a `RemoteModel`. Engines are code: load only those that you trust.
        device: "cpu", "cuda", "cuda:N" or "auto"; for a server, which has its own, "auto".
        backend: "auto"; for an engine "tensorrt" or "tensorrt-rtx"; for .onnx "onnxruntime" (its own CPU or CUDA
            kernels), "onnxruntime-trt" (its TensorRT provider), "onnxruntime-rtx" (NVIDIA's TensorRT-RTX plugin, Ampere
            and later) or "openvino" (CPU); for a server "v2". "auto" is "onnxruntime" on a GPU; on a CPU it is
            OpenVINO where that is installed, except for tiny images.
        threads: CPU threads; None for all cores. Not for a server.
        streams: inferences side by side on the CPU, which share the threads: 1 for the lowest latency, more for a
            higher throughput; None for the default of machine and graph. On a GPU it is always 1. For a server, the
            requests in flight.
        in_order: run the nodes as listed, which limits the memory of a graph with an output at every value.

    Returns:
        The engine.

    Raises:
        UsageError: an unknown backend or device, or streams below 1.
        MissingFileError: there is no such file.
        ArtifactError: no kind that can be run, or damaged.
        DeviceError: the device is not there.
        MissingDependencyError: the runtime is not installed.
    """
    model = RemoteModel(model) if is_url(model) else model
    if isinstance(model, RemoteModel):
        _check_server_options(model, device, backend, threads, in_order=in_order)
        from hrnet_deploy.engines.remote.engine import RemoteEngine

        return RemoteEngine(model, streams=streams)
    model = Path(model) if isinstance(model, str) else model
    _check_backend(model, backend)
    if isinstance(model, Path) and model.suffix.lower() in ENGINE_SUFFIXES:
        from hrnet_deploy.engines.tensorrt.engine import TrtEngine

        return TrtEngine(model, device=device, backend=backend)
    from hrnet_deploy.engines.ort.load import open_onnx

    return open_onnx(model, device=device, backend=backend, threads=threads, streams=streams, in_order=in_order)


def _check_server_options(
    served: RemoteModel, device: str, backend: str, threads: int | None, *, in_order: bool
) -> None:
    """Refuse options that a server decides itself."""
    if device != "auto":
        raise UsageError(f"device of {served} must be 'auto', because the server has its own, got '{device}'. Omit it.")
    if backend not in _SERVER_BACKENDS:
        raise UsageError(
            f"backend of {served} must be one of {', '.join(_SERVER_BACKENDS)}, because the server has its own, got "
            f"'{backend}'. Omit it."
        )
    if threads is not None or in_order:
        name = "in_order" if threads is None else "threads"
        raise UsageError(f"{name} must not be given for {served}, because the server has its own. Omit it.")


def _check_backend(model: Path | bytes, backend: str) -> None:
    """Refuse a missing file, an unknown kind of file, and a backend that does not run it."""
    suffix = model.suffix.lower() if isinstance(model, Path) else ".onnx"
    backends = _ENGINE_BACKENDS if suffix in ENGINE_SUFFIXES else _ONNX_BACKENDS
    known = tuple(dict.fromkeys((*_ONNX_BACKENDS, *_ENGINE_BACKENDS)))
    if backend not in known:
        raise UsageError(f"backend must be one of {', '.join(known)}, got '{backend}'. Choose one.")
    if isinstance(model, Path) and not model.is_file():
        raise MissingFileError(f"artifact must be a file, got {model}. Check the path.")
    if suffix not in {".onnx", *ENGINE_SUFFIXES}:
        raise ArtifactError(f"artifact must be an .onnx or .engine file, got {model!s}. Export one with hrnet-export.")
    if backend not in backends:
        raise UsageError(f"backend of {model!s} must be one of {', '.join(backends)}, got '{backend}'. Choose one.")
