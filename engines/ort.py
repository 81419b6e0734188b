"""ONNX Runtime: opens an .onnx file on the device that was asked for, and on no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.errors import ArtifactError, DeviceError, MissingFileError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import TensorSpec

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_LOG_ERRORS_ONLY = 3
_LOG_NOTHING = 4


class OrtEngine:
    """An ONNX Runtime session behind the `Engine` protocol; safe to run from several threads."""

    backend = "onnxruntime"

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: str = "auto",
        threads: int | None = None,
        in_order: bool = False,
        backend: str = "auto",
    ) -> None:
        """Open a model.

        Args:
            model: an .onnx file, or the bytes of one.
            device: "cpu", "cuda", "cuda:N", or "auto" (the GPU where this build and machine have one).
            threads: CPU threads for one run; None for all cores.
            in_order: run the nodes as listed, for graphs with an output at every value: ONNX Runtime would otherwise
                leave those outputs for the end and keep every value until then (4.6 GiB instead of 1.5 for w48).
            backend: "auto" or "onnxruntime".

        Raises:
            MissingFileError: there is no such file.
            ArtifactError: ONNX Runtime cannot read it.
            DeviceError: the device is not there; nothing falls back in silence.
            UsageError: an unknown device, or threads below 1.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}. Leave it out for all cores.")
        if backend not in {"auto", "onnxruntime"}:
            raise UsageError(f"backend '{backend}' must be one this build serves, got none. Use backend='onnxruntime'.")
        self._in_order = in_order
        self._name = model.name if isinstance(model, Path) else "graph"
        if isinstance(model, Path) and not model.is_file():
            raise MissingFileError(f"artefact must exist, got {model}. Check the path.")
        self.device, self._session = self._open(model, device, threads)
        self.inputs = tuple(_spec(v) for v in self._session.get_inputs())
        self.outputs = tuple(_spec(v) for v in self._session.get_outputs())
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def _open(self, model: Path | bytes, device: str, threads: int | None) -> tuple[str, Any]:
        if device == "cpu":
            return "cpu", self._session_on(model, [_CPU], threads)
        if device == "auto":
            # The list of providers says what the build holds, not what the machine has, so try and look.
            if _CUDA in onnxruntime.get_available_providers():
                session = self._session_on(model, [(_CUDA, {"device_id": 0}), _CPU], threads, quiet=True)
                if session.get_providers()[0] == _CUDA:
                    return "cuda:0", session
            return "cpu", self._session_on(model, [_CPU], threads)
        return self._open_cuda(model, device, threads)

    def _open_cuda(self, model: Path | bytes, device: str, threads: int | None) -> tuple[str, Any]:
        kind, _, index = device.partition(":")
        if kind != "cuda" or not (index.isdecimal() or not index):
            raise UsageError(f"device must be cpu, cuda, cuda:N or auto, got '{device}'. Choose one.")
        if _CUDA not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"device '{device}' needs ONNX Runtime with CUDA, got a build for {onnxruntime.get_device()}. "
                "pip uninstall onnxruntime; pip install 'hrnet-deploy[gpu]', or use device='cpu'."
            )
        number = int(index or 0)
        session = self._session_on(model, [(_CUDA, {"device_id": number}), _CPU], threads, quiet=True)
        active = session.get_providers()[0]
        if active != _CUDA:
            raise DeviceError(
                f"device '{device}' must run on the GPU, got {active}: the CUDA provider did not load. "
                "Check nvidia-smi and the CUDA and cuDNN libraries, or use device='cpu'."
            )
        return f"cuda:{number}", session

    def _session_on(
        self, model: Path | bytes, providers: Sequence[Any], threads: int | None, *, quiet: bool = False
    ) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _LOG_NOTHING if quiet else _LOG_ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
        if self._in_order:
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            # The blocked layout of the level above moves its reorders, and what waits for them, to the end.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        try:
            source = str(model) if isinstance(model, Path) else model
            return onnxruntime.InferenceSession(source, options, providers=list(providers))
        except Exception as error:  # ONNX Runtime's own types share no base but Exception
            raise ArtifactError(f"{self._name} must be a model ONNX Runtime can open, got: {_reason(error)}") from error

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch.

        Args:
            feed: one array per graph input, of its dtype and a shape that fits.

        Returns:
            One array per graph output.

        Raises:
            UsageError: a missing, unknown or ill-shaped input.
            DeviceError: the runtime failed, as when memory runs out.
        """
        for spec in self.inputs:
            _check(spec, feed.get(spec.name))
        unknown = feed.keys() - {spec.name for spec in self.inputs}
        if unknown:
            raise UsageError(f"input must be one the graph has, got '{min(unknown)}'. Leave it out.")
        try:
            values = self._session.run(None, dict(feed))
        except Exception as error:
            raise DeviceError(f"{self._name} must run on {self.device}, got: {_reason(error)}") from error
        return dict(zip((spec.name for spec in self.outputs), values, strict=True))

    def close(self) -> None:
        """Release the session; the engine cannot run afterwards."""
        self._session = None


def _spec(value: Any) -> TensorSpec:
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), tuple(d or "?" for d in value.shape))


def _check(spec: TensorSpec, array: NDArray[np.generic] | None) -> None:
    if array is None:
        raise UsageError(f"input '{spec.name}' must be given, got none. Pass it by that name.")
    fits = len(array.shape) == len(spec.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(spec.shape, array.shape, strict=True)
    )
    # ONNX Runtime takes the bytes of a foreign order for its own.
    if not fits or array.dtype.name != spec.dtype or not array.dtype.isnative:
        raise UsageError(
            f"input '{spec.name}' must be {spec.dtype} {spec.shape}, got {array.dtype} {array.shape}. "
            "Reshape or convert it."
        )


def _reason(error: Exception) -> str:
    """ONNX Runtime's message without its code prefix and file name, on one line."""
    return " ".join(str(error).split()).split(" : ")[-1][:300]
