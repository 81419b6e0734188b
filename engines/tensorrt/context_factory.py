"""TensorRT's execution contexts: creation, shapes and execution. Each None or False becomes an error."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.engines.tensorrt.io_signature import OPEN, IoSignature, Shape, read_signature
from hrnet_deploy.engines.tensorrt.log import BuildLog
from hrnet_deploy.engines.tensorrt.runtime_cache import RuntimeCache
from hrnet_deploy.errors import ArtifactError, DeviceError

_LOG = logging.getLogger(__name__)


class ContextFactory:
    """Creates and drives the execution contexts of one loaded engine.

    Attributes:
        scratch_bytes: activation memory that the contexts of one slot share; 0 where each context allocates its own.
        network_name: holds the model card in our engines, where it fits.
        config: TensorRT-RTX's runtime settings; None on classic TensorRT.
        cache: its compiled kernels on disk; None where there are none.
        aux_streams: number of streams for parallel branches, besides the main one.
        records: whether this package records CUDA graphs; TensorRT-RTX does it by itself.
    """

    def __init__(self, api: TrtApi, engine: Any, log: BuildLog, name: str, *, cuda_graphs: bool) -> None:
        self.name = name
        self.signature: IoSignature = read_signature(api, engine, name)
        self.aux_streams = int(getattr(engine, "num_aux_streams", 0))
        self.network_name = str(getattr(engine, "name", "") or "")
        self.cache: RuntimeCache | None = None
        self._module = api.module
        self._engine = engine
        self._log = log
        self.config = self._rtx_config(cuda_graphs=cuda_graphs)
        self.records = cuda_graphs and self.config is None
        self.scratch_bytes = self._shared_bytes() if self.records else 0

    def close(self) -> None:
        """Drop the engine, which ends with its last context."""
        self.config = self._engine = self.cache = None

    def disable_graphs(self, reason: Exception) -> None:
        """Run without CUDA graphs from now on."""
        if self.records:
            self.records = False
            _LOG.warning("%s runs without CUDA graphs: %s", self.name, reason)

    def context(self, scratch: int, aux_streams: Sequence[int]) -> Any:
        """Create an execution context on `scratch_bytes` of memory at address `scratch`."""
        context = self._bare_context()
        if context is None:
            raise DeviceError(
                f"{self.name} must get an execution context, got none: {self._log.reason(2)}. "
                "If memory ran out, build it for smaller batches or use fewer contexts."
            )
        if self.scratch_bytes:
            if hasattr(context, "set_device_memory"):
                context.set_device_memory(scratch, self.scratch_bytes)
            else:
                context.device_memory = scratch
        if aux_streams and hasattr(context, "set_aux_streams"):
            context.set_aux_streams(list(aux_streams))
        return context

    def shape(self, context: Any, profile: int, shapes: Sequence[Shape], stream: int) -> tuple[Shape, ...]:
        """Set the profile and the input shapes of the next execution; returns the shape of each output."""
        # A context starts with profile 0, unless another context has it (TensorRT 8 without profile sharing).
        if context.active_optimization_profile != profile and not context.set_optimization_profile_async(
            profile, stream
        ):
            raise self._refusal(f"take profile {profile}")
        for binding, shape in zip(self.signature.inputs, shapes, strict=True):
            if OPEN in binding.shape and not context.set_input_shape(binding.name, shape):
                raise self._refusal(f"take input '{binding.name}' of shape {shape}")
        outputs = []
        for binding in self.signature.outputs:
            found = tuple(int(d) for d in context.get_tensor_shape(binding.name))
            if OPEN in found:
                raise ArtifactError(
                    f"output '{binding.name}' of {self.name} must have a shape that follows from the input's, got "
                    f"{found}. Export the model without operators such as NonZero."
                )
            outputs.append(found)
        return tuple(outputs)

    def bind(self, context: Any, addresses: dict[str, int]) -> None:
        """Set the address of every tensor of a context."""
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._refusal(f"take the address of tensor '{name}'")

    def enqueue(self, context: Any, stream: int) -> None:
        """Enqueue an execution on a stream."""
        if not context.execute_async_v3(stream):
            raise self._refusal("run")

    def _refusal(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self.name} must {what}, got a refusal by TensorRT: {self._log.reason(2)}. "
            "Open it again; if it stays so, build it again with hrnet-export."
        )

    def _rtx_config(self, *, cuda_graphs: bool) -> Any:
        """Return TensorRT-RTX's runtime settings; None on classic TensorRT."""
        graphs = getattr(self._module, "CudaGraphStrategy", None)
        if graphs is None or not hasattr(self._engine, "create_runtime_config"):
            return None
        config = self._engine.create_runtime_config()
        if config is None:
            return None
        config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if cuda_graphs else graphs.DISABLED
        kernels = getattr(self._module, "DynamicShapesKernelSpecializationStrategy", None)
        if kernels is not None:
            # Lazily specialized kernels would change the speed during a measurement.
            config.dynamic_shapes_kernel_specialization_strategy = kernels.EAGER
        return config

    def _shared_bytes(self) -> int:
        strategy = getattr(self._module, "ExecutionContextAllocationStrategy", None)
        if strategy is None and not hasattr(self._engine, "create_execution_context_without_device_memory"):
            return 0
        size = getattr(self._engine, "device_memory_size_v2", None)
        return int(self._engine.device_memory_size if size is None else size)

    def _bare_context(self) -> Any:
        if self.config is not None:
            return self._engine.create_execution_context(runtime_config=self.config)
        if not self.scratch_bytes:
            return self._engine.create_execution_context()
        strategy = getattr(self._module, "ExecutionContextAllocationStrategy", None)
        if strategy is not None:
            return self._engine.create_execution_context(strategy.USER_MANAGED)
        return self._engine.create_execution_context_without_device_memory()
