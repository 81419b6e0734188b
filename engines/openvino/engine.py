"""OpenVINO on the CPU behind the `Engine` protocol: compiled once for single images, also of open sizes."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.engines.compiled_cache import Files, compiled_folder, open_cached
from hrnet_deploy.engines.feed import check_array, check_names
from hrnet_deploy.engines.graph import arithmetic_of, check_memory, check_source, graph_card
from hrnet_deploy.engines.openvino.requests import RequestPool
from hrnet_deploy.engines.openvino.runtime import DEVICE, DTYPES, half_hint, load_core, load_openvino, reason
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import Precision, TensorSpec
from hrnet_deploy.system.processor import processor_key

Shapes = Mapping[str, tuple[int | str, ...]]
_BLOB = "net.blob"
_REQUESTS_PER_STREAM = 2  # the next input waits while one request runs


class OpenVinoEngine:
    """An ONNX graph on OpenVINO's CPU plugin; safe to run from several threads.

    A graph with an open batch is compiled for one image, and a batch runs as requests side by side. Whole batches were
    measured to be no faster on CPUs, and each batch size would need a compilation.

    Attributes:
        streams: images computed side by side.
    """

    backend = "openvino"
    device = "cpu"

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: str = "auto",
        threads: int | None = None,
        streams: int = 1,
        header: OnnxHeader | None = None,
    ) -> None:
        """Compile a model, or open what an earlier start compiled; the arguments are those of `OrtEngine`."""
        if device not in {"cpu", "auto"}:
            raise UsageError(f"backend 'openvino' must run on the CPU, got device '{device}'. Use device='cpu'.")
        self._name = check_source(model, threads)
        self.streams = streams
        header = header or read_header(model)
        with ThreadPoolExecutor(1) as reading:  # the digest of the file is computed while OpenVINO loads
            folder = reading.submit(_folder, model, header)
            load_core()
        hint = half_hint() if computes_in_half(header) else "f32"
        self.arithmetic = arithmetic_of(header, half=DTYPES[hint])
        self.metadata: Mapping[str, str] = header.metadata
        graph = None
        if not header.complete:
            check_memory(model, self._name, header)
            graph = _read(model, self._name)
        self.inputs = _specs(header.inputs, header, None if graph is None else graph.inputs)
        self.outputs = _specs(header.outputs, header, None if graph is None else graph.outputs)
        self._single = all(one.shape and isinstance(one.shape[0], str) for one in (*self.inputs, *self.outputs))
        compiled, blob = self._open(model, header, graph, _config(hint, threads, streams), folder.result())
        with _opening(self._name):
            self._pool: RequestPool | None = RequestPool(compiled, _REQUESTS_PER_STREAM * streams, blob)

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch, as `Engine.run`."""
        pool = self._pool
        if pool is None:
            raise DeviceError(f"{self._name} must be open to run, got a closed engine. Open it again.")
        check_names(self.inputs, feed)
        for one in self.inputs:
            _check(one, feed[one.name])
        arrays = [np.ascontiguousarray(feed[one.name]) for one in self.inputs]
        try:
            parts = pool.run(self._feeds(arrays))
        except RuntimeError as error:
            raise DeviceError(f"{self._name} must run on OpenVINO, got: {reason(error)}") from error
        joined = parts[0] if len(parts) == 1 else [np.concatenate(rows) for rows in zip(*parts, strict=True)]
        values = zip(self.outputs, joined, strict=True)
        return {one.name: array.astype(one.dtype, copy=False) for one, array in values}

    def close(self) -> None:
        """Release the compiled graph; the engine cannot run afterwards."""
        self._pool = None

    def _feeds(self, arrays: list[NDArray[Any]]) -> list[list[NDArray[Any]]]:
        """Split a batch into one feed per image, where the graph was compiled for one."""
        if not self._single:
            return [arrays]
        counts = {len(array) for array in arrays}
        if len(counts) > 1:
            sizes = ", ".join(map(str, sorted(counts)))
            raise UsageError(f"inputs must hold equally many images, got {sizes}. Pass one batch size.")
        return [[array[index : index + 1] for array in arrays] for index in range(len(arrays[0]))]

    def _open(
        self, model: Path | bytes, header: OnnxHeader, graph: Any, config: dict[str, Any], folder: Path | None
    ) -> tuple[Any, NDArray[Any] | None]:
        """Return the compiled graph, and the memory of its weights where OpenVINO does not own it."""
        openvino, core = load_openvino(), load_core()

        def reopen(files: Files) -> tuple[Any, NDArray[Any] | None]:
            blob = files[_BLOB]
            tensor = openvino.Tensor(blob, shared_memory=True)
            with _opening(self._name):
                return core.import_model(tensor, DEVICE, config), blob

        def create(folder: Path | None) -> tuple[Any, NDArray[Any] | None]:
            if graph is None:
                check_memory(model, self._name, header)
            source = graph if graph is not None else _read(model, self._name)
            with _opening(self._name):
                if self._single:
                    source.reshape({port: [1, *list(port.partial_shape)[1:]] for port in source.inputs})
                compiled = core.compile_model(source, DEVICE, config)
                blob = compiled.export_model() if folder else b""
            if folder:
                (folder / _BLOB).write_bytes(blob if isinstance(blob, bytes) else blob.getbuffer())
            return compiled, None

        kind = "-".join(f"{key}={value}" for key, value in sorted(config.items()) if key != "ENABLE_CPU_PINNING")
        return open_cached(folder, kind.lower(), reopen=reopen, create=create)


def _folder(model: Path | bytes, header: OnnxHeader) -> Path | None:
    """Return the cache folder; None for bytes, and for a file whose digest does not cover its weights."""
    if isinstance(model, bytes) or header.external:
        return None
    try:
        version = importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:  # not from a wheel
        version = load_openvino().get_version()
    return compiled_folder("openvino", model, version, processor_key())


def _config(hint: str, threads: int | None, streams: int) -> dict[str, Any]:
    """Return OpenVINO's properties."""
    # Without a hint OpenVINO would compute in bfloat16 wherever the CPU has it. Pinned threads of two processes would
    # share some cores while others stay idle.
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": False}
    config["PERFORMANCE_HINT"] = "THROUGHPUT" if streams > 1 else "LATENCY"
    if streams > 1:
        config["NUM_STREAMS"] = str(streams)
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    return config


def _read(model: Path | bytes, name: str) -> Any:
    with _opening(name):
        return load_core().read_model(str(model) if isinstance(model, Path) else model)


@contextlib.contextmanager
def _opening(name: str) -> Iterator[None]:
    """Turn OpenVINO's errors into an ArtifactError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(f"{name} must be a model OpenVINO can open, got: {reason(error)}") from error


def _specs(declared: Shapes, header: OnnxHeader, ports: Sequence[Any] | None) -> tuple[TensorSpec, ...]:
    """Return tensors as the file declares them, or from OpenVINO's ports where the declarations are incomplete."""
    if ports is None:
        return tuple(TensorSpec(name, header.dtypes[name], shape) for name, shape in declared.items())
    found = []
    for port in ports:
        name = next((name for name in declared if name in port.names), port.any_name)
        shape: list[int | str] = []
        if port.partial_shape.rank.is_static:
            names = declared.get(name) or ("?",) * len(port.partial_shape)
            sizes = zip(port.partial_shape, names, strict=True)
            shape = [size if known.is_dynamic else known.get_length() for known, size in sizes]
        found.append(TensorSpec(name, port.element_type.to_dtype().name, tuple(shape)))
    return tuple(found)


def _check(spec: TensorSpec, array: Any) -> None:
    """Refuse anything but a NumPy array of images."""
    if not isinstance(array, np.ndarray):
        raise UsageError(f"input '{spec.name}' must be a NumPy array, got {type(array).__name__}. Convert it.")
    check_array(spec, array)
    if not array.size:
        raise UsageError(f"input '{spec.name}' must not be empty, got {array.shape}. Add an image.")


def computes_in_half(header: OnnxHeader) -> bool:
    """Return whether a graph has float16 weights and its card does not state FP32."""
    card = graph_card(header)
    return header.half and (card is None or card.precision is not Precision.FP32)
