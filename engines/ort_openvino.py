"""OpenVINO as a plugin of ONNX Runtime: one compiled graph a shape, because open shapes halve its speed."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.artifact import card_from_metadata
from hrnet_deploy.engines.ort_cache import compiled_folder, open_kept, processor
from hrnet_deploy.engines.ort_feed import check_array, check_names
from hrnet_deploy.engines.ort_header import OnnxHeader, read_header
from hrnet_deploy.engines.ort_providers import CPU
from hrnet_deploy.engines.ort_session import open_session, reason, session_options, spec
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.quantization import QdqTarget
from hrnet_deploy.spec import TensorSpec

_PACKAGE = "onnxruntime-ep-openvino"
_MODULE = "onnxruntime_ep_openvino"
_PROVIDER = "OpenVINOExecutionProvider"
_MAX_SHAPES = 4
_MIN_VALUES = 3 * 128 * 128
_PIP = "pip install 'hrnet-deploy[openvino]'"

_Shapes = tuple[tuple[int, ...], ...]


class OpenVinoEngine:
    """An ONNX graph on OpenVINO's CPU plugin behind the `Engine` protocol; safe to run from several threads.

    Attributes:
        backend: "openvino".
        device: "cpu".
        inputs: of the graph, open dimensions and all.
        outputs: of the graph.
        metadata: the file's own.
        lanes: runs side by side.
    """

    backend = "openvino"
    device = "cpu"

    def __init__(
        self, model: Path | bytes, *, device: str = "auto", threads: int | None = None, lanes: int = 1
    ) -> None:
        """Open a model and, for one lane, compile it for one image, where height and width are fixed.

        Several lanes are for more images: what comes first tells what to compile for.

        Args:
            model: an .onnx file, or the bytes of one.
            device: "cpu", or "auto" for the same.
            threads: CPU threads; None for all cores.
            lanes: runs side by side, which share the threads; 1 gives each run all of them.

        Raises:
            UsageError: another device, or threads below 1.
            MissingFileError: there is no such file.
            MissingDependencyError: the plugin is not installed.
            ArtifactError: the graph cannot be read or compiled.
            DeviceError: OpenVINO does not load, or leaves convolutions to ONNX Runtime.
        """
        if device not in {"cpu", "auto"}:
            raise UsageError(f"backend 'openvino' must run on the CPU, got device '{device}'. Use device='cpu'.")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}. Leave it out for all cores.")
        self._name = model.name if isinstance(model, Path) else "graph"
        if isinstance(model, Path) and not model.is_file():
            raise MissingFileError(f"artefact must exist, got {model}. Check the path.")
        self.lanes = lanes
        self._device = _cpu_device()
        self._model = model
        self.inputs, self.outputs, self.metadata = _described(model, self._name)
        self._config = json.dumps({"CPU": _config(threads, lanes)})
        self._folder = _folder(model)
        self._sessions: dict[_Shapes, Any] = {}
        self._lock = threading.Lock()
        self._closed = False
        if lanes == 1 and (single := _one_image(self.inputs)):
            self._session(single)

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch.

        A batch of a new size is compiled for only where it is the largest so far; smaller ones, such as the rest of a
        folder, run in parts of the sizes there are.

        Args:
            feed: one array per graph input, of its dtype and a shape that fits.

        Returns:
            One array per graph output.

        Raises:
            UsageError: a missing, unknown or ill-shaped input.
            DeviceError: the runtime failed.
        """
        check_names(self.inputs, feed)
        for one in self.inputs:
            if not isinstance(feed[one.name], np.ndarray):
                raise UsageError(
                    f"input '{one.name}' must be a NumPy array, got {type(feed[one.name]).__name__}. Convert it."
                )
            check_array(one, feed[one.name])
            if not feed[one.name].size:
                raise UsageError(f"input '{one.name}' must not be empty, got {feed[one.name].shape}. Add an image.")
        arrays = [np.ascontiguousarray(feed[one.name]) for one in self.inputs]
        parts: list[list[NDArray[Any]]] = []
        start = 0
        for count in self._split(arrays):
            part = arrays if count is None else [array[start : start + count] for array in arrays]
            start += count or 0
            parts.append(self._run(part))
        values = parts[0] if len(parts) == 1 else [np.concatenate(rows) for rows in zip(*parts, strict=True)]
        return dict(zip((one.name for one in self.outputs), values, strict=True))

    def close(self) -> None:
        """Release the compiled graphs; the engine cannot run afterwards."""
        with self._lock:
            self._closed = True
            self._sessions.clear()

    def _split(self, arrays: list[NDArray[Any]]) -> list[int | None]:
        """Batch sizes to run one after the other; [None] for everything at once."""
        shared = all(isinstance(one.shape[0], str) for one in (*self.inputs, *self.outputs) if one.shape)
        counts = {array.shape[0] if array.ndim else 0 for array in arrays}
        if not shared or len(counts) != 1 or 0 in counts:
            return [None]
        (count,) = counts
        rest = tuple(array.shape[1:] for array in arrays)
        with self._lock:
            known = sorted({key[0][0] for key in self._sessions if tuple(s[1:] for s in key) == rest}, reverse=True)
        if not known or count >= known[0]:
            return [None]
        split: list[int | None] = []
        while count:
            size = next((size for size in known if size <= count), 1)
            split.append(size)
            count -= size
        return split

    def _run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        session = self._session(tuple(array.shape for array in arrays))
        feed = dict(zip((one.name for one in self.inputs), arrays, strict=True))
        try:
            values: list[NDArray[Any]] = session.run(None, feed)
        except Exception as error:  # ONNX Runtime's own types share no base but Exception
            raise DeviceError(f"{self._name} must run on OpenVINO, got: {reason(error)}") from error
        return values

    def _session(self, shapes: _Shapes) -> Any:
        with self._lock:
            if self._closed:
                raise DeviceError(f"{self._name} must be open to run, got a closed engine. Open it again.")
            session = self._sessions.pop(shapes, None)
            if session is None:
                session = self._compile(shapes)
            self._sessions[shapes] = session  # the latest is last
            while len(self._sessions) > _MAX_SHAPES:
                del self._sessions[next(iter(self._sessions))]
            return session

    def _compile(self, shapes: _Shapes) -> Any:
        def open_with(model: Path | bytes, entries: Mapping[str, str]) -> Any:
            options = session_options(entries={"session.disable_cpu_ep_fallback": "1", **entries})
            for one, shape in zip(self.inputs, shapes, strict=True):
                for name, size in zip(one.shape, shape, strict=True):
                    if isinstance(name, str) and name != "?":
                        options.add_free_dimension_override_by_name(name, size)
            options.add_provider_for_devices([self._device], {"load_config": self._config})
            return open_session(model, self._name, options, None)

        def make(file: Path | None) -> Any:
            # What is compiled goes into a file beside this one and is mapped from there.
            keeping = {"ep.context_enable": "1", "ep.context_file_path": str(file), "ep.context_embed_mode": "0"}
            return open_with(self._model, keeping if file else {})

        kind = hashlib.sha256(f"{self._config}\n{shapes}".encode()).hexdigest()[:16]
        return open_kept(self._folder, kind, reopen=lambda kept: open_with(kept, {}), make=make)


def _described(
    model: Path | bytes, file: str
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], Mapping[str, str]]:
    """Inputs, outputs and metadata: as the file says, else as a plain session infers, which takes seconds in INT8."""
    header = read_header(model)
    # A graph of open sizes is compiled only when it runs; the session also sees whether it can be read at all.
    if header.complete and not header.open_sizes:
        inputs, outputs = (
            tuple(TensorSpec(name, header.dtypes[name], shape) for name, shape in end.items())
            for end in (header.inputs, header.outputs)
        )
        return inputs, outputs, header.metadata
    plain = session_options()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    probe = open_session(model, file, plain, [CPU])
    metadata: Mapping[str, str] = probe.get_modelmeta().custom_metadata_map
    return tuple(map(spec, probe.get_inputs())), tuple(map(spec, probe.get_outputs())), metadata


def prefers_openvino(header: OnnxHeader) -> bool:
    """Whether OpenVINO is the faster way to run a graph on this machine's CPU.

    Measured on 2 busy cores with VNNI: INT8 at 224 x 224, w18 and w18_small_v2, 1.6 times as fast as ONNX Runtime's own
    kernels; at 64 x 64 a w18_small_v1 is slower. Compiling takes seconds, so a graph that may meet many sizes stays
    where it need not be compiled for each.

    Args:
        header: of the graph.

    Returns:
        True for an INT8 graph of a fixed, not tiny, picture size where the plugin is installed; False for one laid out
        for TensorRT, whose answers it predicts only where each pair is computed as written (OpenVINO moves them over
        sums: 98.7 % instead of 99.6 % of the street net's pixels).
    """
    if _for_tensorrt(header) or not header.quantised or not header.inputs or header.open_sizes or not _installed():
        return False
    return any(_values(shape[1:]) >= _MIN_VALUES for shape in header.inputs.values())


def _for_tensorrt(header: OnnxHeader) -> bool:
    try:
        card = card_from_metadata(header.metadata, "graph")
    except ArtifactError:
        return False
    return card.lineage.get("qdq_target") == QdqTarget.TENSORRT.value


def _values(shape: tuple[int | str, ...]) -> int:
    return math.prod(size for size in shape if isinstance(size, int))


def _one_image(inputs: Sequence[TensorSpec]) -> _Shapes | None:
    """The shapes of a batch of one; None where height or width is open."""
    shapes = []
    for one in inputs:
        sizes = [1 if index == 0 and isinstance(size, str) else size for index, size in enumerate(one.shape)]
        shapes.append(tuple(size for size in sizes if isinstance(size, int)))
        if len(shapes[-1]) != len(sizes):
            return None
    return tuple(shapes)


def _installed() -> bool:
    return importlib.util.find_spec(_MODULE) is not None and hasattr(onnxruntime, "register_execution_provider_library")


@functools.cache
def _cpu_device() -> Any:
    """Register the plugin, once a process, and find its CPU."""
    try:
        plugin = importlib.import_module(_MODULE)
    except ImportError as error:
        raise MissingDependencyError(f"backend 'openvino' needs its plugin, got: {error}. {_PIP}") from error
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise MissingDependencyError(
            f"backend 'openvino' needs ONNX Runtime 1.23, got {onnxruntime.__version__}. {_PIP}"
        )
    try:
        if not any(device.ep_name == _PROVIDER for device in onnxruntime.get_ep_devices()):
            onnxruntime.register_execution_provider_library("openvino", plugin.get_library_path())
    except Exception as error:  # ONNX Runtime's own types share no base but Exception
        raise DeviceError(f"OpenVINO's plugin must load, got: {reason(error)}. {_PIP}") from error
    for device in onnxruntime.get_ep_devices():
        if device.ep_name == _PROVIDER and device.ep_metadata.get("ov_device") == "CPU":
            return device
    raise DeviceError("OpenVINO's plugin must offer the CPU, got none. Use backend='onnxruntime'.")


def _config(threads: int | None, lanes: int) -> dict[str, str]:
    """OpenVINO's own properties, all as text."""
    # Where a CPU has bfloat16 units OpenVINO would round everything that is not INT8 to it.
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if lanes > 1:
        config |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(lanes)}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    return config


def _folder(model: Path | bytes) -> Path | None:
    """Where compiled graphs of a file are kept; graphs in the making are opened once."""
    if isinstance(model, bytes):
        return None
    plugin = importlib.metadata.version(_PACKAGE)
    return compiled_folder("openvino", model, onnxruntime.__version__, plugin, processor())
