"""Running .engine files with TensorRT or TensorRT-RTX."""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_deploy.artifact.engine_sidecar import EngineSidecar, check_sidecar, read_sidecar, sidecar_path
from hrnet_deploy.artifact.plan_file import PlanFile, check_plan, read_plan
from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.engines.cuda.device_array import MemoryPool
from hrnet_deploy.engines.cuda.device_view import DeviceView, is_device_array, view
from hrnet_deploy.engines.cuda.errors import readable
from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.engines.tensorrt.api import TrtApi, find_api
from hrnet_deploy.engines.tensorrt.context_factory import ContextFactory
from hrnet_deploy.engines.tensorrt.execution_slot import ExecutionSlot
from hrnet_deploy.engines.tensorrt.io_signature import Chunk, chunks
from hrnet_deploy.engines.tensorrt.load_checks import check_gpu, find_card, gpu_index, wanted_flavour
from hrnet_deploy.engines.tensorrt.log import BuildLog
from hrnet_deploy.engines.tensorrt.runtime_cache import cache_path
from hrnet_deploy.engines.tensorrt.slot_pool import SlotPool
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import Precision, TensorSpec

_LOG = logging.getLogger(__name__)
_GRAPHS = 4
_LANES = 4
_MEMORY_WORDS = ("out of memory", "outofmemory", "memoryallocation")
_DRIVER_WORDS = ("cuda runtime", "cuda driver", "cuda initialization", "cudaerror")
_PLANNED_SHAPES = 256
_ARITHMETIC = {Precision.FP32: "float32 or TF32", Precision.FP16: "float16", Precision.INT8: "int8"}


class TrtEngine:
    """One .engine file, loaded on one GPU; safe to call from several threads.

    Engines are code: open only those you trust. The checks guard against damage and mix-ups, not malice.

    Attributes:
        device: such as "cuda:0".
        backend: "tensorrt" or "tensorrt-rtx".
        inputs: engine inputs.
        outputs: engine outputs.
        metadata: the artefact's own string metadata; the model card is under `artifact.CARD_KEY`.
        arithmetic: what its convolutions were built for, such as "float16"; "" for a plan without a sidecar.
        lanes: 1; runs of several threads overlap in contexts of their own all the same.
    """

    lanes = 1

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        api: TrtApi | None = None,
        cuda: Cuda | None = None,
        backend: str = "auto",
        contexts: int = _LANES,
        cuda_graphs: bool = True,
    ) -> None:
        """Load an engine.

        Args:
            path: the .engine file; its facts are read from `<name>.engine.json` beside it.
            device: "cuda", "cuda:N", or "auto" for the first GPU.
            api: the TensorRT to use; None to find it.
            cuda: the CUDA provider to use; None to find it.
            backend: "tensorrt", "tensorrt-rtx", or "auto" for what the file was built by.
            contexts: batches that may run at the same time, at least 1; each needs memory of its own, allocated when
                a thread first needs it.
            cuda_graphs: launch shapes that come back as CUDA graphs.

        Raises:
            MissingFileError: there is no such file.
            ArtifactError: damaged, foreign, or built for another TensorRT or GPU.
            DeviceError: the GPU is not there, or its memory does not suffice.
            MissingDependencyError: TensorRT or the CUDA bindings are not installed.
            UsageError: an unknown device or backend, or contexts below 1.
        """
        if contexts < 1:
            raise UsageError(f"contexts must be at least 1, got {contexts}. Use 1 for one batch at a time.")
        self._name = path.name
        self._index = gpu_index(device, self._name)
        plan = read_plan(path)
        facts = read_sidecar(sidecar_path(path))
        self._cuda = cuda or open_cuda()
        check_gpu(self._index, device, self._name, self._cuda)
        self._api = api or find_api(wanted_flavour(backend, plan, facts))
        self.device, self.backend = f"cuda:{self._index}", self._api.flavour
        self.arithmetic = _ARITHMETIC[facts.precision] if facts else ""
        capability = self._cuda.capability(self._index)
        if facts:
            check_sidecar(facts, plan=path, flavour=self.backend, version=self._api.version, capability=capability)
        else:
            check_plan(plan, name=self._name, flavour=self.backend, version=self._api.version)
        self._plans: dict[tuple[Any, ...], tuple[Chunk, ...]] = {}
        # The stack unwinds inside the block, so that what fails half-way is released on the right GPU.
        with self._cuda.active(self._index), ExitStack() as stack:
            # Open until `close`: what TensorRT says meanwhile explains what fails.
            log = stack.enter_context(BuildLog(self._api))
            runtime, engine = self._loaded(plan, facts, log)
            stack.callback(id, runtime)  # nothing but a hold on it: a runtime must outlive its engine
            executor = ContextFactory(self._api, engine, log, self._name, cuda_graphs=cuda_graphs)
            del runtime, engine  # released with the stack and the executor
            stack.callback(executor.close)
            card, self.metadata = find_card(plan, facts, executor.network_name, executor.signature)
            if card:
                executor.signature = executor.signature.ordered_as(card)
            self._signature = executor.signature
            self.inputs, self.outputs = self._signature.specs(card)
            if executor.compiles:
                _keep_kernels(executor, plan, facts, capability)
            self._executor = executor
            self._blocks = MemoryPool(self._cuda, self._index)
            stack.callback(self._blocks.close)
            self._pool = SlotPool(
                _lanes(executor, self._cuda, _GRAPHS if cuda_graphs else 0), limit=contexts, name=self._name
            )
            stack.callback(self._pool.close)
            # Also when the engine is garbage, and before the driver goes at the end of the process.
            self._release = weakref.finalize(self, _released, self._cuda, self._index, stack.pop_all())

    def run(self, feed: Mapping[str, Any]) -> Tensors:
        """Compute every output for one batch.

        A batch larger than the engine's profile is computed in parts where the first dimension of every tensor is
        open.

        Args:
            feed: one array per input, of its dtype and a shape that fits: all NumPy arrays, or all arrays in this
                GPU's memory (torch, CuPy, PyCUDA, Numba or our own `DeviceArray`), contiguous.

        Returns:
            One array per output: NumPy arrays, or for GPU input a `DeviceArray` each, whose memory no later run
            touches.

        Raises:
            UsageError: a missing, unknown or ill-shaped input, or one outside the engine's profile.
            DeviceError: the runtime failed, or the engine is closed.
        """
        values: list[Any] = [feed.get(spec.name) for spec in self.inputs]
        unknown = feed.keys() - {spec.name for spec in self.inputs}
        if unknown:
            raise UsageError(f"input must be one the engine has, got '{min(unknown)}'. Leave it out.")
        on_device = [is_device_array(value) for value in values]
        if any(on_device):
            return self._run_on_device(values, on_device)
        plan = self._planned(values)
        with self._cuda.active(self._index), self._pool.lease() as lane:
            results = lane.run(plan, values)
            self._keep(lane)
        return dict(zip((spec.name for spec in self.outputs), results, strict=True))

    def close(self) -> None:
        """Release the GPU's memory, once; the engine cannot run afterwards. Results stay valid."""
        self._release()

    def _run_on_device(self, values: list[Any], on_device: list[bool]) -> Tensors:
        if not all(on_device):
            spec = self.inputs[on_device.index(False)]
            raise UsageError(f"input '{spec.name}' must be in GPU memory as the others are, got none. Copy it there.")
        with self._cuda.active(self._index), self._pool.lease() as lane:
            views = [
                view(value, spec.name, cuda=self._cuda, device=self._index, stream=lane.stream)
                for spec, value in zip(self.inputs, values, strict=True)
            ]
            results = lane.run_on_device(self._planned(views), views, self._blocks)
            self._keep(lane)
        named: dict[str, Any] = dict(zip((spec.name for spec in self.outputs), results, strict=True))
        return named

    def _planned(self, arrays: Sequence[Any]) -> tuple[Chunk, ...]:
        """Check inputs and split them; what was checked before is found at once."""
        key = tuple([(getattr(array, "dtype", None), getattr(array, "shape", None)) for array in arrays])
        found = self._plans.get(key)
        if found is None:
            for spec, array in zip(self.inputs, arrays, strict=True):
                _check(spec, array)
            found = chunks(self._signature, tuple(array.shape for array in arrays))
            if len(self._plans) >= _PLANNED_SHAPES:
                self._plans.clear()
            self._plans[key] = found
        return found

    def _keep(self, lane: ExecutionSlot) -> None:
        if lane.new_shapes and self._executor.cache is not None:
            self._executor.cache.save()

    def _loaded(self, plan: PlanFile, facts: EngineSidecar | None, log: BuildLog) -> tuple[Any, Any]:
        """Runtime and engine."""
        runtime = self._api.module.Runtime(log.logger)
        engine = None if runtime is None else runtime.deserialize_cuda_engine(plan.plan)
        if engine is not None:
            return runtime, engine
        reason = log.reason(2)
        words = reason.lower()
        if any(word in words for word in _MEMORY_WORDS):
            free, total = self._cuda.memory_info(self._index)
            raise DeviceError(
                f"{self._name} ({readable(len(plan.plan))}) must fit the memory of {self.device}, got {reason} "
                f"({readable(free)} of {readable(total)} free). Free some, or use another GPU."
            )
        if any(word in words for word in _DRIVER_WORDS):
            raise DeviceError(
                f"{self._name} must load on {self.device}, got: {reason}. "
                "Check nvidia-smi and that the driver is new enough for this TensorRT."
            )
        rebuild = facts.rebuild if facts else f"hrnet-export FILE.onnx -o {self._name}"
        raise ArtifactError(
            f"{self._name} must be an engine that {self._api.label} can load, got: {reason}. Build it again: {rebuild}"
        )


def _lanes(executor: ContextFactory, cuda: Cuda, graphs: int) -> Callable[[], ExecutionSlot]:
    return lambda: ExecutionSlot(executor, cuda, graphs=graphs)


def _released(cuda: Cuda, device: int, resources: ExitStack) -> None:
    with cuda.active(device):
        resources.close()


def _keep_kernels(executor: ContextFactory, plan: PlanFile, facts: EngineSidecar | None, capability: str) -> None:
    digest = facts.plan_sha256 if facts else hashlib.sha256(plan.plan).hexdigest()
    try:
        executor.keep_kernels(cache_path(digest, capability))
    except UsageError as error:  # no home folder
        _LOG.info("compiled kernels are not kept: %s", error)


def _check(spec: TensorSpec, value: Any) -> None:
    if value is None:
        raise UsageError(f"input '{spec.name}' must be given, got none. Pass it by that name.")
    if not isinstance(value, (np.ndarray, DeviceView)):
        raise UsageError(
            f"input '{spec.name}' must be a NumPy array or lie in GPU memory, got {type(value).__name__}. Convert it."
        )
    dtype = value.dtype
    if isinstance(dtype, np.dtype):
        # The byte order is part of NumPy's name only where it is a foreign one.
        dtype = dtype.name if dtype.isnative else dtype.str
    fits = len(value.shape) == len(spec.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(spec.shape, value.shape, strict=True)
    )
    if not fits or dtype != spec.dtype:
        raise UsageError(
            f"input '{spec.name}' must be {spec.dtype} {spec.shape}, got {dtype} {value.shape}. Reshape or convert it."
        )
