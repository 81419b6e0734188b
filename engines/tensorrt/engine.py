"""Running .engine files with TensorRT or TensorRT-RTX."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_deploy.artifact.engine_sidecar import EngineSidecar, check_sidecar, read_sidecar, sidecar_path
from hrnet_deploy.artifact.plan_file import PlanFile, check_plan, read_plan
from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.engines.cuda.device_array import MemoryPool
from hrnet_deploy.engines.cuda.device_view import is_device_array, view
from hrnet_deploy.engines.cuda.dlpack import DeviceView
from hrnet_deploy.engines.cuda.errors import readable
from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.engines.feed import check_array
from hrnet_deploy.engines.tensorrt.api import TrtApi, find_api
from hrnet_deploy.engines.tensorrt.context_factory import ContextFactory
from hrnet_deploy.engines.tensorrt.execution_slot import ExecutionSlot
from hrnet_deploy.engines.tensorrt.io_signature import Chunk, split_batch
from hrnet_deploy.engines.tensorrt.load_checks import check_gpu, find_card, gpu_index
from hrnet_deploy.engines.tensorrt.log import BuildLog
from hrnet_deploy.engines.tensorrt.runtime_cache import open_cache
from hrnet_deploy.engines.tensorrt.slot_pool import SlotPool
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import Precision, TensorSpec

_MAX_GRAPHS = 4
_MAX_CONTEXTS = 4
_MAX_PLANNED_SHAPES = 256
_MEMORY_WORDS = ("out of memory", "outofmemory", "memoryallocation")
_DRIVER_WORDS = ("cuda runtime", "cuda driver", "cuda initialization", "cudaerror")
_ARITHMETIC = {Precision.FP32: "float32 or TF32", Precision.FP16: "float16", Precision.INT8: "int8"}


class TrtEngine:
    """One .engine file, loaded on one GPU; safe to call from several threads.

    Engines are code: open only those that you trust. The checks detect damage and mix-ups, not malice.

    Attributes:
        arithmetic: of its convolutions, such as "float16"; "" for a plan without a sidecar.
        streams: 1; the runs of several threads nevertheless overlap, in contexts of their own.
    """

    streams = 1

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        api: TrtApi | None = None,
        cuda: Cuda | None = None,
        backend: str = "auto",
        contexts: int = _MAX_CONTEXTS,
        cuda_graphs: bool = True,
    ) -> None:
        """Load an engine; `contexts` batches may run at the same time, each in memory allocated on demand."""
        if contexts < 1:
            raise UsageError(f"contexts must be at least 1, got {contexts}. Use 1 for one batch at a time.")
        self._name = path.name
        self._index = gpu_index(device, self._name)
        plan = read_plan(path)
        sidecar = read_sidecar(sidecar_path(path))
        self._cuda = cuda or open_cuda()
        check_gpu(self._index, device, self._name, self._cuda)
        built_by = sidecar.flavour if sidecar else plan.flavour or "auto"
        self._api = api or find_api(built_by if backend == "auto" else backend)
        self.device, self.backend = f"cuda:{self._index}", self._api.flavour
        self.arithmetic = _ARITHMETIC[sidecar.precision] if sidecar else ""
        capability = self._cuda.capability(self._index)
        if sidecar:
            here = {"flavour": self.backend, "version": self._api.version, "capability": capability}
            check_sidecar(sidecar, plan=path, **here, content=plan.content)
        else:
            check_plan(plan, name=self._name, flavour=self.backend, version=self._api.version)
        self._plans: dict[tuple[Any, ...], tuple[Chunk, ...]] = {}
        # The stack unwinds inside the block, so that a failed start releases everything on the right GPU.
        with self._cuda.active(self._index), ExitStack() as stack:
            self._open_contexts(plan, sidecar, stack, cuda_graphs=cuda_graphs)
            if self._contexts.config is not None:
                digest = sidecar.plan_sha256 if sidecar else hashlib.sha256(plan.plan).hexdigest()
                self._contexts.cache = open_cache(self._contexts.config, digest, capability)
            self._memory = MemoryPool(self._cuda, self._index)
            stack.callback(self._memory.close)
            factory, provider, graphs = self._contexts, self._cuda, _MAX_GRAPHS if cuda_graphs else 0
            self._pool = SlotPool(lambda: ExecutionSlot(factory, provider, graphs=graphs), contexts, self._name)
            stack.callback(self._pool.close)
            # The finalizer also runs for a garbage-collected engine, and before the driver ends with the process.
            self._release = weakref.finalize(self, _release, self._cuda, self._index, stack.pop_all())

    def run(self, feed: Mapping[str, Any]) -> Tensors:
        """Compute every output for one batch, as `Engine.run`.

        All arrays are NumPy's, or all are contiguous arrays in this GPU's memory (torch, CuPy, PyCUDA, Numba or
        `DeviceArray`); then the outputs are `DeviceArray`s, whose memory no later run changes. Where the
        first dimension of every tensor is open, a batch beyond the profile is computed in parts.
        """
        values: list[Any] = [feed.get(spec.name) for spec in self.inputs]
        unknown = feed.keys() - {spec.name for spec in self.inputs}
        if unknown:
            raise UsageError(f"input must be one the engine has, got '{min(unknown)}'. Leave it out.")
        on_device = [is_device_array(value) for value in values]
        if any(on_device) and not all(on_device):
            name = self.inputs[on_device.index(False)].name
            raise UsageError(f"input '{name}' must be in GPU memory as the others are, got none. Copy it there.")
        chunks = () if any(on_device) else self._planned(values)
        results: Any
        with self._cuda.active(self._index), self._pool.lease() as slot:
            if chunks:
                results = slot.run(chunks, values)
            else:
                views = [
                    view(value, spec.name, cuda=self._cuda, device=self._index, stream=slot.stream)
                    for spec, value in zip(self.inputs, values, strict=True)
                ]
                results = slot.run_on_device(self._planned(views), views, self._memory)
            if slot.new_shapes and self._contexts.cache is not None:
                self._contexts.cache.save()
        return dict(zip((spec.name for spec in self.outputs), results, strict=True))

    def close(self) -> None:
        """Release the GPU's memory; the engine cannot run afterwards, but results stay valid."""
        self._release()

    def _planned(self, arrays: Sequence[Any]) -> tuple[Chunk, ...]:
        """Check and split a batch; the result is cached by the inputs' types and shapes."""
        key = tuple([(getattr(array, "dtype", None), getattr(array, "shape", None)) for array in arrays])
        found = self._plans.get(key)
        if found is None:
            for spec, array in zip(self.inputs, arrays, strict=True):
                _check(spec, array)
            found = split_batch(self._signature, tuple(array.shape for array in arrays))
            if len(self._plans) >= _MAX_PLANNED_SHAPES:
                self._plans.clear()
            self._plans[key] = found
        return found

    def _open_contexts(
        self, plan: PlanFile, sidecar: EngineSidecar | None, stack: ExitStack, *, cuda_graphs: bool
    ) -> None:
        """Deserialize the plan, and read its signature, card and metadata."""
        # The log stays open until `close`, because TensorRT's messages explain later failures.
        log = stack.enter_context(BuildLog(self._api))
        runtime, engine = self._deserialize(plan, sidecar, log)
        stack.callback(id, runtime)  # only a reference: a runtime must outlive its engine
        self._contexts = ContextFactory(self._api, engine, log, self._name, cuda_graphs=cuda_graphs)
        stack.callback(self._contexts.close)
        card, self.metadata = find_card(plan, sidecar, self._contexts.network_name, self._contexts.signature)
        if card:
            self._contexts.signature = self._contexts.signature.ordered_as(card)
        self._signature = self._contexts.signature
        self.inputs, self.outputs = self._signature.specs(card)

    def _deserialize(self, plan: PlanFile, sidecar: EngineSidecar | None, log: BuildLog) -> tuple[Any, Any]:
        """Return the runtime and the engine."""
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
        rebuild = sidecar.rebuild if sidecar else f"hrnet-export FILE.onnx -o {self._name}"
        raise ArtifactError(
            f"{self._name} must be an engine that {self._api.label} can load, got: {reason}. Build it again: {rebuild}"
        )


def _release(cuda: Cuda, device: int, resources: ExitStack) -> None:
    with cuda.active(device):
        resources.close()


def _check(spec: TensorSpec, value: Any) -> None:
    if value is None:
        raise UsageError(f"input '{spec.name}' must be given, got none. Pass it by that name.")
    if not isinstance(value, (np.ndarray, DeviceView)):
        raise UsageError(
            f"input '{spec.name}' must be a NumPy array or lie in GPU memory, got {type(value).__name__}. Convert it."
        )
    check_array(spec, value)
