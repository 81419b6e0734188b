"""TensorRT-RTX as a plugin of ONNX Runtime: an .onnx file in, compiled on the first start, kept for the next."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.engines.arithmetic import arithmetic_of
from hrnet_deploy.engines.compiled_cache import compiled_folder
from hrnet_deploy.engines.feed import check_array, check_names
from hrnet_deploy.engines.ort.cuda import HEAVY, LENIENT, STRICT, card_refusal, graph_card, nodes_on
from hrnet_deploy.engines.ort.providers import CPU, device_number, profile_shapes
from hrnet_deploy.engines.ort.session import open_session, reason, session_options, spec
from hrnet_deploy.engines.ort.worker import Worker
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.system.gpu_table import Runtime

BACKEND = "onnxruntime-rtx"
_PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx"
_MODULE = "onnxruntime_ep_nv_tensorrt_rtx"
_PROVIDER = "NvTensorRTRTXExecutionProvider"
_PIP = "pip install 'hrnet-deploy[onnxruntime-rtx]'"


class RtxPluginEngine:
    """An ONNX graph on NVIDIA's TensorRT-RTX plugin behind the `Engine` protocol; safe to run from several threads.

    It needs a GPU of Ampere or later. Engines of our own (`.engine`) also run on Turing, carry a sidecar, and are
    looked into after the build.

    Attributes:
        backend: "onnxruntime-rtx".
        device: such as "cuda:0".
        inputs: of the graph.
        outputs: of the graph.
        metadata: the file's own.
        arithmetic: what its file states, such as "float16".
        lanes: 1.
    """

    backend = BACKEND
    lanes = 1

    def __init__(self, model: Path | bytes, *, device: str = "auto", threads: int | None = None) -> None:
        """Open a model and compile it, or take what an earlier start compiled.

        Args:
            model: an .onnx file, or the bytes of one.
            device: "cuda", "cuda:N", or "auto" for the first GPU.
            threads: CPU threads for what little runs there; None for all cores.

        Raises:
            UsageError: another device, or threads below 1.
            MissingFileError: there is no such file.
            MissingDependencyError: the plugin is not installed, or ONNX Runtime is too old for it.
            DeviceError: the table refuses the GPU, or the plugin does not load, finds no such GPU, or leaves
                convolutions to the CPU.
            ArtifactError: the graph cannot be read or compiled.
        """
        if device == "cpu":
            raise UsageError(f"backend '{BACKEND}' must run on a GPU, got device 'cpu'. Use device='cuda'.")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}. Leave it out for all cores.")
        number = device_number("cuda" if device == "auto" else device)
        self._name = model.name if isinstance(model, Path) else "graph"
        if isinstance(model, Path) and not model.is_file():
            raise MissingFileError(f"artefact must exist, got {model}. Check the path.")
        self.device = f"cuda:{number}"
        self._worker = Worker("hrnet-rtx")
        try:
            self._session = self._worker.call(functools.partial(self._open, model, number, threads))
        except BaseException:
            self._worker.close()
            raise
        self.inputs = tuple(spec(value) for value in self._session.get_inputs())
        self.outputs = tuple(spec(value) for value in self._session.get_outputs())
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.arithmetic = arithmetic_of(read_header(model), half="float16", single="float32 or TF32")

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch.

        Args:
            feed: one NumPy array per graph input, of its dtype and a shape that fits.

        Returns:
            One array per graph output.

        Raises:
            UsageError: a missing, unknown or ill-shaped input, or an array on the GPU.
            DeviceError: the runtime failed.
        """
        check_names(self.inputs, feed)
        for one in self.inputs:
            if not isinstance(feed[one.name], np.ndarray):
                raise UsageError(
                    f"input '{one.name}' must be a NumPy array for backend '{BACKEND}', got "
                    f"{type(feed[one.name]).__name__}. Copy it to the host, or use backend='onnxruntime'."
                )
            check_array(one, feed[one.name])
        try:
            values = self._worker.call(lambda: self._session.run(None, dict(feed)))
        except Exception as error:  # ONNX Runtime's own types share no base but Exception
            raise DeviceError(f"{self._name} must run on {self.device}, got: {reason(error)}") from error
        return dict(zip((one.name for one in self.outputs), values, strict=True))

    def close(self) -> None:
        """Release the session; the engine cannot run afterwards."""
        self._session = None
        self._worker.close()

    def _open(self, model: Path | bytes, number: int, threads: int | None) -> Any:
        card = graph_card(read_header(model))
        if refused := card_refusal(number, Runtime.ONNXRUNTIME_RTX, Precision.FP32 if card is None else card.precision):
            raise DeviceError(f"{refused}.")
        target = gpu_device(number)
        settings = plugin_options(card, cache=_folder(model))

        def attempt(entries: Mapping[str, str], *, quiet: bool) -> Any:
            options = session_options(threads=threads, quiet=quiet, entries=entries)
            options.add_provider_for_devices([target], dict(settings))
            return open_session(model, self._name, options, None)

        try:
            return attempt(STRICT, quiet=True)
        except ArtifactError:
            # Shape arithmetic of open sizes may stay on the CPU; convolutions may not.
            session = attempt(LENIENT, quiet=False)
        if stray := nodes_on(session, CPU) & HEAVY:
            raise DeviceError(
                f"{self.device} must run every convolution, got {', '.join(sorted(stray))} on the CPU. "
                "Use backend='onnxruntime', or build an .engine."
            )
        return session


def plugin_options(card: ModelCard | None, *, cache: Path | None) -> dict[str, str]:
    """Options of the plugin.

    Args:
        card: gives the range of shapes to compile for; None leaves that to the graph.
        cache: folder for compiled kernels, of this graph alone; None keeps none.

    Returns:
        Option by name, all as text.

    Source: tensorrt_rtx_provider_options.h of onnxruntime-ep-nv-tensorrt-rtx-cu13 0.5.0.
    """
    options = profile_shapes(card, prefix="nv_profile")
    if card is not None and not options:
        options["enable_cuda_graph"] = "1"  # it needs shapes that are fixed across runs
    if cache is not None:
        options["nv_runtime_cache_path"] = str(cache)
    return options


def gpu_device(number: int) -> Any:
    """The plugin's device on a GPU.

    Args:
        number: index of the GPU.

    Returns:
        onnxruntime.OrtEpDevice.

    Raises:
        MissingDependencyError: the plugin is not installed, or ONNX Runtime is too old for it.
        DeviceError: it does not load, or there is no such GPU.
    """
    try:
        plugin = importlib.import_module(_MODULE)
    except ImportError as error:
        raise MissingDependencyError(f"backend '{BACKEND}' needs its plugin, got: {error}. {_PIP}") from error
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise MissingDependencyError(
            f"backend '{BACKEND}' needs ONNX Runtime 1.24, got {onnxruntime.__version__}. "
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
    """Where compiled kernels of a file are kept; graphs in the making are opened once."""
    if isinstance(model, bytes):
        return None
    return compiled_folder(BACKEND, model, onnxruntime.__version__, importlib.metadata.version(_PACKAGE))
