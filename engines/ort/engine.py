"""ONNX Runtime: opens an .onnx file on the device that was asked for, and on no other."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.engines.arithmetic import arithmetic_of, onnxruntime_cpu_arithmetic
from hrnet_deploy.engines.feed import check_array, check_names
from hrnet_deploy.engines.ort.cache import open_optimised
from hrnet_deploy.engines.ort.cuda import GpuSession, explained, open_on_gpu
from hrnet_deploy.engines.ort.io_binding import BoundSession
from hrnet_deploy.engines.ort.providers import CPU, CUDA, TENSORRT, CudaTuning
from hrnet_deploy.engines.ort.session import open_session, session_options, spec
from hrnet_deploy.engines.ort.staging import open_staging
from hrnet_deploy.engines.ort.worker import Worker
from hrnet_deploy.errors import DeviceError, HrnetDeployError, MissingFileError, UsageError
from hrnet_deploy.protocols import Tensors

if TYPE_CHECKING:
    from hrnet_deploy.engines.ort.device_io import DeviceRunner

_LOG = logging.getLogger(__name__)
_PROVIDERS = {"auto": CUDA, "onnxruntime": CUDA, "onnxruntime-trt": TENSORRT}


class OrtEngine:
    """An ONNX Runtime session behind the `Engine` protocol; safe to run from several threads.

    On a GPU it runs through fixed buffers, replays each shape as a CUDA graph where it can, and takes GPU arrays as
    well: then the answers are GPU arrays, too.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: str = "auto",
        threads: int | None = None,
        lanes: int = 1,
        in_order: bool = False,
        backend: str = "auto",
        tuning: CudaTuning | None = None,
    ) -> None:
        """Open a model.

        Args:
            model: an .onnx file, or the bytes of one.
            device: "cpu", "cuda", "cuda:N", or "auto" (the GPU where this build and machine have one that can run it).
            threads: CPU threads; None for all cores.
            lanes: runs side by side on the CPU, which share the threads; 1 gives each run all of them.
            in_order: run the nodes as listed, for graphs with an output at every value: ONNX Runtime would otherwise
                leave those outputs for the end and keep every value until then (4.6 GiB instead of 1.5 for w48).
            backend: "auto", "onnxruntime", or "onnxruntime-trt" for the TensorRT provider, which needs a GPU.
            tuning: of the CUDA provider; None for its defaults.

        Raises:
            MissingFileError: there is no such file.
            ArtifactError: ONNX Runtime cannot read it.
            DeviceError: the device is not there or cannot run it; nothing falls back in silence.
            UsageError: an unknown device or backend, or threads below 1.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}. Leave it out for all cores.")
        if backend not in _PROVIDERS:
            raise UsageError(f"backend must be one of {', '.join(_PROVIDERS)}, got '{backend}'. Choose one.")
        self.backend = "onnxruntime" if backend == "auto" else backend
        self._in_order = in_order
        self._threads, self.lanes = threads, lanes
        self._tuning = tuning or CudaTuning()
        self._name = model.name if isinstance(model, Path) else "graph"
        if isinstance(model, Path) and not model.is_file():
            raise MissingFileError(f"artefact must exist, got {model}. Check the path.")
        self._header = read_header(model) if isinstance(model, Path) else None
        self._bound: BoundSession | None = None
        self._on_device: DeviceRunner | None = None
        self._lock = threading.Lock()
        self.device, self._session = self._open(model, device)
        self.inputs = tuple(spec(v) for v in self._session.get_inputs())
        self.outputs = tuple(spec(v) for v in self._session.get_outputs())
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def _open(self, model: Path | bytes, device: str) -> tuple[str, Any]:
        self._number: int | None = None
        provider = _PROVIDERS[self.backend]
        if provider == TENSORRT:
            if device == "cpu":
                raise UsageError("backend 'onnxruntime-trt' must run on a GPU, got device 'cpu'. Use device='cuda'.")
            return self._open_gpu(model, "cuda" if device == "auto" else device, provider)
        if device not in {"cpu", "auto"}:
            return self._open_gpu(model, device, provider)
        # The list of providers says what the build holds, not what the machine has, so try and look.
        if device == "auto" and CUDA in onnxruntime.get_available_providers():
            try:
                return self._open_gpu(model, "cuda", provider)
            except DeviceError as error:
                _LOG.warning("running on the CPU: %s", error)
        options = functools.partial(session_options, threads=self._threads, lanes=self.lanes, in_order=self._in_order)
        if isinstance(model, Path) and self._header and self._header.quantised and not self._in_order:
            return "cpu", open_optimised(model, self._name, options)
        return "cpu", open_session(model, self._name, options(), [CPU])

    def _open_gpu(self, model: Path | bytes, device: str, provider: str) -> tuple[str, Any]:
        worker = Worker("hrnet-gpu")
        work = functools.partial(
            open_on_gpu,
            model,
            self._name,
            device=device,
            provider=provider,
            tuning=self._tuning,
            threads=self._threads,
            in_order=self._in_order,
        )
        try:
            opened = worker.call(work)
            self._bound = self._bind(opened, worker)
        except BaseException:
            worker.close()
            raise
        self._number, self.lanes = opened.number, 1
        return f"cuda:{opened.number}", opened.session

    def _bind(self, opened: GpuSession, worker: Worker) -> BoundSession:
        return BoundSession(
            opened.session,
            tuple(spec(value) for value in opened.session.get_outputs()),
            device_type="cuda",
            device=opened.number,
            graphs=opened.graphs,
            at_once=not opened.open_sizes,
            worker=worker,
            staging=open_staging(opened.number, wanted=self._tuning.pinned),
        )

    @property
    def cuda_graphs(self) -> int:
        """How many input shapes replay a CUDA graph; 0 on a CPU."""
        return self._bound.cuda_graphs if self._bound is not None else 0

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch.

        Args:
            feed: one array per graph input, of its dtype and a shape that fits. On a GPU also arrays that lie there
                (torch, CuPy, PyCUDA, ...: DLPack or `__cuda_array_interface__`).

        Returns:
            One array per graph output; with a GPU array in the feed, GPU arrays.

        Raises:
            UsageError: a missing, unknown or ill-shaped input.
            DeviceError: the runtime failed, as when memory runs out, or the engine is closed.
            MissingDependencyError: GPU arrays without CUDA's Python bindings.
        """
        session, bound = self._session, self._bound  # `close` may come from another thread
        if session is None:
            raise DeviceError(f"{self._name} must be open to run, got a closed engine. Open it again.")
        check_names(self.inputs, feed)
        there = [name for name, value in feed.items() if not isinstance(value, np.ndarray)]
        if there:
            return self._run_there(feed, there[0], bound)
        for one in self.inputs:
            check_array(one, feed[one.name])
        try:
            if bound is not None:
                return bound.run({one.name: feed[one.name] for one in self.inputs})
            values = session.run(None, dict(feed))
        except Exception as error:
            why = explained(error, self._number)
            raise DeviceError(f"{self._name} must run on {self.device}, got: {why}") from error
        return dict(zip((one.name for one in self.outputs), values, strict=True))

    def _run_there(self, feed: Mapping[str, Any], name: str, bound: BoundSession | None) -> Tensors:
        """Run on arrays that are not NumPy's."""
        from hrnet_deploy.engines.cuda.device_view import is_device_array

        if bound is None or self._number is None or not is_device_array(feed[name]):
            wanted = "a NumPy array" if self._number is None else "a NumPy array or one on the GPU"
            raise UsageError(
                f"input '{name}' must be {wanted} for an engine on {self.device}, got {type(feed[name]).__name__}. "
                "Convert it."
            )
        try:
            runner = self._runner(bound, self._number)
            # The protocol speaks of host arrays; these offer the same shape, dtype and names.
            return cast("Tensors", runner.run({one.name: feed[one.name] for one in self.inputs}))
        except HrnetDeployError:
            raise
        except Exception as error:
            why = explained(error, self._number)
            raise DeviceError(f"{self._name} must run on {self.device}, got: {why}") from error

    def _runner(self, bound: BoundSession, number: int) -> DeviceRunner:
        with self._lock:
            if self._on_device is None:
                from hrnet_deploy.engines.cuda.provider import open_cuda
                from hrnet_deploy.engines.ort.device_io import DeviceRunner

                self._on_device = DeviceRunner(bound, self.inputs, open_cuda(), number)
            return self._on_device

    def close(self) -> None:
        """Release the session; the engine cannot run afterwards."""
        if self._on_device is not None:
            self._on_device.close()
        bound, self._session, self._bound, self._on_device = self._bound, None, None, None
        if bound is not None:
            bound.close()

    @property
    def arithmetic(self) -> str:
        """What the file computes in here, such as "float32" or "int8 and float32"; "" for a graph without a file."""
        if self._header is None:
            return ""
        if self._number is None:
            return onnxruntime_cpu_arithmetic(self._header)
        return arithmetic_of(self._header, half="float16", single="TF32" if self._tuning.tf32 else "float32")
