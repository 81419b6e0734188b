"""ONNX Runtime's engine: opens an .onnx file on the requested device, and on no other."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.engines.feed import check_array, check_names
from hrnet_deploy.engines.graph import (
    arithmetic_of,
    check_memory,
    check_source,
    onnxruntime_cpu_arithmetic,
)
from hrnet_deploy.engines.ort.cuda import explain_failure, open_on_gpu
from hrnet_deploy.engines.ort.io_binding import BoundSession
from hrnet_deploy.engines.ort.providers import CPU, CUDA, TENSORRT, CudaTuning, device_number
from hrnet_deploy.engines.ort.session import describe, open_optimized, open_session, session_options
from hrnet_deploy.engines.ort.staging import open_staging
from hrnet_deploy.errors import DeviceError, HrnetDeployError, UsageError
from hrnet_deploy.protocols import Tensors

if TYPE_CHECKING:
    from hrnet_deploy.engines.ort.device_io import DeviceRunner

_LOG = logging.getLogger(__name__)
_PROVIDERS = {"auto": CUDA, "onnxruntime": CUDA, "onnxruntime-trt": TENSORRT}


class OrtEngine:
    """An ONNX Runtime session behind the `Engine` protocol; safe to run from several threads.

    On a GPU it runs through fixed buffers, replays each shape as a CUDA graph where possible, and also takes GPU
    arrays: then the outputs are GPU arrays.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: str = "auto",
        threads: int | None = None,
        streams: int = 1,
        in_order: bool = False,
        backend: str = "auto",
        tuning: CudaTuning | None = None,
        header: OnnxHeader | None = None,
    ) -> None:
        """Open a model; the arguments are those of `open_engine`, and `tuning` is for the CUDA provider.

        Without `in_order` ONNX Runtime would compute the outputs of a graph with one at every value last, and keep each
        value until then (4.6 GiB instead of 1.5 for w48). `header` is the model's, where the caller has read it.
        """
        self._name = check_source(model, threads)
        if backend not in _PROVIDERS:
            raise UsageError(f"backend must be one of {', '.join(_PROVIDERS)}, got '{backend}'. Choose one.")
        self.backend = "onnxruntime" if backend == "auto" else backend
        self._in_order, self._threads, self.streams = in_order, threads, streams
        self._tuning = tuning or CudaTuning()
        self._header = header or (read_header(model) if isinstance(model, Path) else None)
        self._bound: BoundSession | None = None
        self._device_runner: DeviceRunner | None = None
        self._gpu: int | None = None
        self._lock = threading.Lock()
        self.device, self._session = self._open(model, device)
        self.inputs, self.outputs, self.metadata = describe(self._session, self._name)

    @property
    def cuda_graphs(self) -> int:
        """Number of input shapes that replay a CUDA graph; 0 on a CPU."""
        return self._bound.cuda_graphs if self._bound is not None else 0

    @property
    def arithmetic(self) -> str:
        """Arithmetic of the file here, such as "float32" or "int8 and float32"; "" for a graph without a file."""
        if self._header is None:
            return ""
        if self._gpu is None:
            return onnxruntime_cpu_arithmetic(self._header)
        return arithmetic_of(self._header, half="float16", single="TF32" if self._tuning.tf32 else "float32")

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch, as `Engine.run`.

        On a GPU the feed may hold arrays in its memory (torch, CuPy, PyCUDA, ...: DLPack or
        `__cuda_array_interface__`); then the outputs are GPU arrays.
        """
        session, bound = self._session, self._bound  # `close` may come from another thread
        if session is None:
            raise DeviceError(f"{self._name} must be open to run, got a closed engine. Open it again.")
        check_names(self.inputs, feed)
        foreign = [name for name, value in feed.items() if not isinstance(value, np.ndarray)]
        if foreign:
            return self._run_on_device(feed, foreign[0], bound)
        for one in self.inputs:
            check_array(one, feed[one.name])
        try:
            if bound is not None:
                return bound.run({one.name: feed[one.name] for one in self.inputs})
            values = session.run(None, dict(feed))
        except Exception as error:
            raise self._run_failure(error) from error
        return dict(zip((one.name for one in self.outputs), values, strict=True))

    def close(self) -> None:
        """Release the session; the engine cannot run afterwards."""
        if self._device_runner is not None:
            self._device_runner.close()
        bound = self._bound
        self._session = self._bound = self._device_runner = None
        if bound is not None:
            bound.close()

    def _open(self, model: Path | bytes, device: str) -> tuple[str, Any]:
        """Return the device and the session."""
        provider = _PROVIDERS[self.backend]
        if provider == TENSORRT:
            if device == "cpu":
                raise UsageError("backend 'onnxruntime-trt' must run on a GPU, got device 'cpu'. Use device='cuda'.")
            return self._open_gpu(model, "cuda" if device == "auto" else device, provider)
        if device not in {"cpu", "auto"}:
            return self._open_gpu(model, device, provider)
        # The list of providers shows what the build contains, not what the machine has, so the GPU is tried.
        if device == "auto" and CUDA in onnxruntime.get_available_providers():
            try:
                return self._open_gpu(model, "cuda", provider)
            except DeviceError as error:
                _LOG.warning("running on the CPU: %s", error)
        options = functools.partial(
            session_options, threads=self._threads, streams=self.streams, in_order=self._in_order
        )
        if isinstance(model, Path) and self._header and self._header.quantized and not self._in_order:
            return "cpu", open_optimized(model, self._name, self._header, options)
        if self._header is not None:
            check_memory(model, self._name, self._header)
        return "cpu", open_session(model, self._name, options(), [CPU])

    def _open_gpu(self, model: Path | bytes, device: str, provider: str) -> tuple[str, Any]:
        number, header = device_number(device), self._header or read_header(model)
        check_memory(model, self._name, header)
        worker = ThreadPoolExecutor(1, thread_name_prefix="hrnet-gpu")
        try:
            session, graphs = worker.submit(
                open_on_gpu,
                model,
                self._name,
                header=header,
                device=device,
                provider=provider,
                tuning=self._tuning,
                threads=self._threads,
                in_order=self._in_order,
            ).result()
            self._bound = BoundSession(
                session,
                device_type="cuda",
                device=number,
                graphs=graphs,
                at_once=not header.open_sizes,
                worker=worker,
                staging=open_staging(number, wanted=self._tuning.pinned),
            )
        except BaseException:
            worker.shutdown()
            raise
        self._gpu, self.streams = number, 1
        return f"cuda:{number}", session

    def _run_on_device(self, feed: Mapping[str, Any], name: str, bound: BoundSession | None) -> Tensors:
        """Run on arrays of which `name` is not NumPy's."""
        from hrnet_deploy.engines.cuda.device_view import is_device_array

        if bound is None or self._gpu is None or not is_device_array(feed[name]):
            wanted = "a NumPy array" if self._gpu is None else "a NumPy array or one on the GPU"
            raise UsageError(
                f"input '{name}' must be {wanted} for an engine on {self.device}, got {type(feed[name]).__name__}. "
                "Convert it."
            )
        try:
            with self._lock:
                if self._device_runner is None:
                    from hrnet_deploy.engines.cuda.provider import open_cuda
                    from hrnet_deploy.engines.ort.device_io import DeviceRunner

                    self._device_runner = DeviceRunner(bound, self.inputs, open_cuda(), self._gpu)
                runner = self._device_runner
            # The protocol names host arrays; GPU arrays offer the same shape, dtype and names.
            return cast("Tensors", runner.run({one.name: feed[one.name] for one in self.inputs}))
        except HrnetDeployError:
            raise
        except Exception as error:
            raise self._run_failure(error) from error

    def _run_failure(self, error: Exception) -> DeviceError:
        return DeviceError(f"{self._name} must run on {self.device}, got: {explain_failure(error, self._gpu)}")
