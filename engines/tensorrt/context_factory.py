"""Making and driving TensorRT's execution contexts; every None and False becomes an error with TensorRT's reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.engines.tensorrt.io_signature import OPEN, IoSignature, Shape, read_signature
from hrnet_deploy.engines.tensorrt.log import BuildLog
from hrnet_deploy.engines.tensorrt.runtime_cache import RuntimeCache
from hrnet_deploy.errors import ArtifactError, DeviceError

_LOG = logging.getLogger(__name__)


class ContextFactory:
    """One loaded engine, as far as its contexts are concerned.

    Attributes:
        name: of the artefact, for messages.
        signature: of the engine.
        scratch_bytes: activation memory that the contexts of one lane share; 0 where each brings its own.
        network_name: what the builder called the network; ours holds the model card where it fits.
        cache: compiled kernels on disk, None where there are none.
        aux_streams: how many streams the engine wants for its parallel branches, besides the main one.
        records: whether CUDA graphs are to be recorded by us; TensorRT-RTX does it by itself.
    """

    def __init__(self, api: TrtApi, engine: Any, log: BuildLog, name: str, *, cuda_graphs: bool) -> None:
        """Look at what the engine's TensorRT offers.

        Args:
            api: the TensorRT that holds it.
            engine: ICudaEngine.
            log: listening to TensorRT.
            name: of the artefact.
            cuda_graphs: whether graphs are wanted.

        Raises:
            ArtifactError: the engine has a tensor that cannot be used.
        """
        self.name = name
        self.signature: IoSignature = read_signature(api, engine, name)
        self.aux_streams = int(getattr(engine, "num_aux_streams", 0))
        self.network_name = str(getattr(engine, "name", "") or "")
        self.cache: RuntimeCache | None = None
        self._module = api.module
        self._engine = engine
        self._log = log
        self._config = self._rtx_config(cuda_graphs=cuda_graphs)
        self.records = cuda_graphs and self._config is None
        self.scratch_bytes = self._shared_bytes() if self.records else 0

    @property
    def compiles(self) -> bool:
        """Whether kernels are compiled on first use and can be kept."""
        return self._config is not None and hasattr(self._config, "create_runtime_cache")

    def close(self) -> None:
        """Let go of the engine; it is gone with its last context."""
        self._config = self._engine = self.cache = None

    def keep_kernels(self, path: Path) -> None:
        """Keep what TensorRT-RTX compiles in a file; only where `compiles` holds.

        Args:
            path: the file.
        """
        cache = self._config.create_runtime_cache()
        if cache is None:
            return
        self.cache = RuntimeCache(cache, path)
        if not self._config.set_runtime_cache(cache):
            self.cache = None

    def give_up_graphs(self, reason: Exception) -> None:
        """Run everything eagerly from now on.

        Args:
            reason: what went wrong.
        """
        if self.records:
            self.records = False
            _LOG.warning("%s runs without CUDA graphs: %s", self.name, reason)

    def context(self, scratch: int, aux_streams: Sequence[int]) -> Any:
        """A new execution context.

        Args:
            scratch: address of `scratch_bytes` of memory, ignored where that is 0.
            aux_streams: one for each of `aux_streams`.

        Returns:
            IExecutionContext.

        Raises:
            DeviceError: TensorRT could not make it.
        """
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
        """Set the shapes of the next execution.

        Args:
            context: IExecutionContext.
            profile: index of the profile that holds the shapes.
            shapes: of each input.
            stream: that of the context's lane.

        Returns:
            Shape of each output.

        Raises:
            DeviceError: TensorRT refused.
            ArtifactError: an output whose shape depends on values.
        """
        # A context begins with profile 0, unless another one took it (TensorRT 8 without profile sharing).
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
        """Tell a context where its tensors lie.

        Args:
            context: IExecutionContext.
            addresses: of every tensor.

        Raises:
            DeviceError: TensorRT refused.
        """
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._refusal(f"take the address of tensor '{name}'")

    def enqueue(self, context: Any, stream: int) -> None:
        """Put an execution on a stream.

        Args:
            context: IExecutionContext with shapes and addresses.
            stream: where to.

        Raises:
            DeviceError: TensorRT refused.
        """
        if not context.execute_async_v3(stream):
            raise self._refusal("run")

    def _refusal(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self.name} must {what}, got a refusal by TensorRT: {self._log.reason(2)}. "
            "Open it again; if it stays so, build it again with hrnet-export."
        )

    def _rtx_config(self, *, cuda_graphs: bool) -> Any:
        """TensorRT-RTX's settings, None on the classic TensorRT."""
        graphs = getattr(self._module, "CudaGraphStrategy", None)
        if graphs is None or not hasattr(self._engine, "create_runtime_config"):
            return None
        config = self._engine.create_runtime_config()
        if config is None:
            return None
        config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if cuda_graphs else graphs.DISABLED
        kernels = getattr(self._module, "DynamicShapesKernelSpecializationStrategy", None)
        if kernels is not None:
            # Lazily specialised kernels would arrive in the middle of somebody's measurements.
            config.dynamic_shapes_kernel_specialization_strategy = kernels.EAGER
        return config

    def _shared_bytes(self) -> int:
        strategy = getattr(self._module, "ExecutionContextAllocationStrategy", None)
        if strategy is None and not hasattr(self._engine, "create_execution_context_without_device_memory"):
            return 0
        size = getattr(self._engine, "device_memory_size_v2", None)
        return int(self._engine.device_memory_size if size is None else size)

    def _bare_context(self) -> Any:
        if self._config is not None:
            return self._engine.create_execution_context(runtime_config=self._config)
        if not self.scratch_bytes:
            return self._engine.create_execution_context()
        strategy = getattr(self._module, "ExecutionContextAllocationStrategy", None)
        if strategy is not None:
            return self._engine.create_execution_context(strategy.USER_MANAGED)
        return self._engine.create_execution_context_without_device_memory()
