"""NVIDIA's TensorRT-RTX plugin for ONNX Runtime: it compiles an .onnx file at the first start and caches the result."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.engines.compiled_cache import compiled_folder
from hrnet_deploy.engines.feed import check_array, check_names
from hrnet_deploy.engines.graph import arithmetic_of, check_memory, check_source, graph_card
from hrnet_deploy.engines.ort.cuda import HEAVY, LENIENT, STRICT, card_refusal, nodes_on
from hrnet_deploy.engines.ort.providers import CPU, device_number, profile_shapes
from hrnet_deploy.engines.ort.session import describe, open_session, reason, session_options
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.system.gpu_table import Runtime

_BACKEND = "onnxruntime-rtx"
_PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx"
_MODULE = "onnxruntime_ep_nv_tensorrt_rtx"
_PROVIDER = "NvTensorRTRTXExecutionProvider"
_PIP = "pip install 'hrnet-deploy[onnxruntime-rtx]'"


class RtxPluginEngine:
    """An ONNX graph on NVIDIA's TensorRT-RTX plugin behind the `Engine` protocol; safe to run from several threads.

    It needs a GPU of Ampere or later. A TensorRT-RTX `.engine` of this package also runs on Turing, carries a sidecar,
    and is inspected after the build.
    """

    backend = _BACKEND
    streams = 1

    def __init__(self, model: Path | bytes, *, device: str = "auto", threads: int | None = None) -> None:
        """Compile a model, or open what an earlier start compiled; the arguments are those of `open_engine`."""
        if device == "cpu":
            raise UsageError(f"backend '{_BACKEND}' must run on a GPU, got device 'cpu'. Use device='cuda'.")
        self._name = check_source(model, threads)
        number = device_number("cuda" if device == "auto" else device)
        header = read_header(model)
        check_memory(model, self._name, header)
        self.device = f"cuda:{number}"
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="hrnet-rtx")
        try:
            self._session = self._worker.submit(self._open, model, header, number, threads).result()
        except BaseException:
            self._worker.shutdown()
            raise
        self.inputs, self.outputs, self.metadata = describe(self._session, self._name)
        self.arithmetic = arithmetic_of(header, half="float16", single="float32 or TF32")

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch of NumPy arrays, as `Engine.run`."""
        check_names(self.inputs, feed)
        for one in self.inputs:
            if not isinstance(feed[one.name], np.ndarray):
                raise UsageError(
                    f"input '{one.name}' must be a NumPy array for backend '{_BACKEND}', got "
                    f"{type(feed[one.name]).__name__}. Copy it to the host, or use backend='onnxruntime'."
                )
            check_array(one, feed[one.name])
        try:
            values = self._worker.submit(lambda: self._session.run(None, dict(feed))).result()
        except Exception as error:  # ONNX Runtime's own types share no base but Exception
            raise DeviceError(f"{self._name} must run on {self.device}, got: {reason(error)}") from error
        return dict(zip((one.name for one in self.outputs), values, strict=True))

    def close(self) -> None:
        """Release the session; the engine cannot run afterwards."""
        self._session = None
        self._worker.shutdown()

    def _open(self, model: Path | bytes, header: OnnxHeader, number: int, threads: int | None) -> Any:
        card = graph_card(header)
        if refused := card_refusal(number, Runtime.ONNXRUNTIME_RTX, Precision.FP32 if card is None else card.precision):
            raise DeviceError(f"{refused}.")
        target = gpu_device(number)
        settings = plugin_options(card, cache=_folder(model))

        def attempt(entries: Mapping[str, str]) -> Any:
            options = session_options(threads=threads, entries=entries)
            options.add_provider_for_devices([target], dict(settings))
            return open_session(model, self._name, options, None)

        try:
            return attempt(STRICT)
        except ArtifactError:
            # Shape arithmetic of open sizes may stay on the CPU; convolutions may not.
            session = attempt(LENIENT)
        if stray := nodes_on(session, CPU) & HEAVY:
            raise DeviceError(
                f"{self.device} must run every convolution, got {', '.join(sorted(stray))} on the CPU. "
                "Use backend='onnxruntime', or build an .engine."
            )
        return session


def plugin_options(card: ModelCard | None, *, cache: Path | None) -> dict[str, str]:
    """Return the plugin's options; without a card, the graph sets the range of shapes.

    Source: tensorrt_rtx_provider_options.h of onnxruntime-ep-nv-tensorrt-rtx-cu13 0.5.0.
    """
    options = profile_shapes(card, prefix="nv_profile")
    if card is not None and not options:
        options["enable_cuda_graph"] = "1"  # it needs fixed shapes
    if cache is not None:
        options["nv_runtime_cache_path"] = str(cache)
    return options


def gpu_device(number: int) -> Any:
    """Return the plugin's onnxruntime.OrtEpDevice on a GPU."""
    try:
        plugin = importlib.import_module(_MODULE)
    except ImportError as error:
        raise MissingDependencyError(f"backend '{_BACKEND}' needs its plugin, got: {error}. {_PIP}") from error
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise MissingDependencyError(
            f"backend '{_BACKEND}' needs ONNX Runtime 1.24, got {onnxruntime.__version__}. "
            "pip install --upgrade 'hrnet-deploy[cpu]' (or [gpu])."
        )
    try:
        if not _devices():
            onnxruntime.register_execution_provider_library(_PROVIDER, plugin.get_library_path())
    except Exception as error:  # ONNX Runtime's own types share no base but Exception
        why = reason(error).split(" with error: ")[-1]
        raise DeviceError(
            f"ONNX Runtime's TensorRT-RTX plugin must load, got: {why}. "
            "Check nvidia-smi: it needs a driver for CUDA 13."
        ) from error
    found = _devices()
    if number >= len(found):
        raise DeviceError(
            f"device 'cuda:{number}' must be one that TensorRT-RTX lists (Ampere and later), got {len(found)} of them. "
            "Use backend='onnxruntime', or see hrnet-doctor."
        )
    return found[number]


def _devices() -> list[Any]:
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER]


def _folder(model: Path | bytes) -> Path | None:
    """Return the cache folder of a file's kernels; None for bytes, which are opened once."""
    if isinstance(model, bytes):
        return None
    return compiled_folder(_BACKEND, model, onnxruntime.__version__, importlib.metadata.version(_PACKAGE))
