"""An execution slot: a stream with the buffers, contexts and graphs that one thread at a time uses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.cuda.api import Cuda, HostBytes
from hrnet_deploy.engines.cuda.device_array import DeviceArray, MemoryPool
from hrnet_deploy.engines.cuda.dlpack import DeviceView
from hrnet_deploy.engines.tensorrt.context_factory import ContextFactory
from hrnet_deploy.engines.tensorrt.cuda_graphs import GraphCache, Recorded
from hrnet_deploy.engines.tensorrt.io_signature import Binding, Chunk, Shape
from hrnet_deploy.errors import DeviceError

_Key = tuple[int, tuple[Shape, ...]]
_MAX_SEEN_SHAPES = 4096
_MAX_VIEWS = 64


class ExecutionSlot:
    """Executes batches, one after the other.

    A CUDA graph holds the model without the copies, so that one graph serves batches from the host and from the GPU.
    The copies cost two enqueues, which the GPU's work hides. The addresses of the tensors never change, so that graphs
    stay valid: all memory is allocated once, for the largest shape of any profile.

    Attributes:
        new_shapes: the last `compute` met a shape for the first time.
    """

    def __init__(self, contexts: ContextFactory, cuda: Cuda, *, graphs: int) -> None:
        """Allocate all memory of a batch but the pinned memory, with `graphs` CUDA graphs at most."""
        self._contexts = contexts
        self._cuda = cuda
        self._signature = contexts.signature
        self._current: _Key | None = None
        self._outputs: tuple[Shape, ...] = ()
        self._seen: set[_Key] = set()
        self._addresses: dict[str, int] = {}
        self._host: dict[str, HostBytes] = {}
        self._views: dict[tuple[str, Shape], tuple[NDArray[Any], int]] = {}
        self.new_shapes = False
        with ExitStack() as stack:
            self.stream = cuda.stream()
            stack.callback(cuda.destroy_stream, self.stream)
            self._aux_streams: list[int] = []
            for _ in range(contexts.aux_streams):
                self._aux_streams.append(cuda.stream())
                stack.callback(cuda.destroy_stream, self._aux_streams[-1])
            self._scratch = 0
            if contexts.scratch_bytes:
                self._scratch = cuda.allocate(contexts.scratch_bytes)
                stack.callback(cuda.free, self._scratch)
            self._context: Any = contexts.context(self._scratch, self._aux_streams)
            stack.callback(setattr, self, "_context", None)
            self._sizes = self._max_bytes()
            self._memory = stack.enter_context(ExitStack())
            for name, size in self._sizes.items():
                self._addresses[name] = cuda.allocate(size)
                self._memory.callback(cuda.free, self._addresses[name])
            contexts.bind(self._context, self._addresses)
            self._graphs = GraphCache(cuda, graphs if contexts.records else 0)
            stack.callback(self._graphs.close)
            self._stack = stack.pop_all()

    def run(self, chunks: Sequence[Chunk], arrays: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Compute a batch from and to host memory; the outputs have memory of their own."""
        results: list[NDArray[np.generic]] = []
        whole = len(chunks) == 1
        for chunk in chunks:
            for binding, array, shape in zip(self._signature.inputs, arrays, chunk.shapes, strict=True):
                # The driver would copy pageable memory into pinned memory itself, in small pieces.
                view, host = self._pinned(binding, shape)
                np.copyto(view, array if whole else array[chunk.start : chunk.start + shape[0]], casting="no")
                self._cuda.copy_in(self._addresses[binding.name], host, view.nbytes, self.stream)
            shapes = self.compute(chunk)
            views = []
            for binding, shape in zip(self._signature.outputs, shapes, strict=True):
                view, host = self._pinned(binding, shape)
                self._cuda.copy_out(host, self._addresses[binding.name], view.nbytes, self.stream)
                views.append(view)
            self._cuda.synchronize(self.stream)
            if whole:
                return [view.copy() for view in views]
            if not results:
                results = [np.empty(*joined) for joined in self._whole_outputs(chunks, shapes)]
            for view, result in zip(views, results, strict=True):
                result[chunk.start : chunk.start + len(view)] = view
        return results

    def run_on_device(
        self, chunks: Sequence[Chunk], views: Sequence[DeviceView], memory: MemoryPool
    ) -> list[DeviceArray]:
        """Compute a batch from and to GPU memory; the copies within it cost microseconds and keep graphs valid."""
        results: list[DeviceArray] = []
        for chunk in chunks:
            for binding, view, shape in zip(self._signature.inputs, views, chunk.shapes, strict=True):
                address = view.address + binding.nbytes(shape[1:]) * chunk.start
                self._cuda.copy_across(self._addresses[binding.name], address, binding.nbytes(shape), self.stream)
            shapes = self.compute(chunk)
            if not results:
                results = [DeviceArray(memory, *joined, self.stream) for joined in self._whole_outputs(chunks, shapes)]
            for binding, shape, result in zip(self._signature.outputs, shapes, results, strict=True):
                address = result.address + binding.nbytes(shape[1:]) * chunk.start
                self._cuda.copy_across(address, self._addresses[binding.name], binding.nbytes(shape), self.stream)
        # The caller may read results on any stream and change its inputs, so all work is done on return.
        self._cuda.synchronize(self.stream)
        return results

    def compute(self, chunk: Chunk) -> tuple[Shape, ...]:
        """Enqueue the model, as a graph where there is one; returns the shape of each output."""
        key = (chunk.profile, chunk.shapes)
        self.new_shapes = False
        recorded = self._graphs.find(key)
        if recorded is not None:
            self._cuda.launch(recorded.graph, self.stream)
            return recorded.outputs
        if self._contexts.records and self._graphs.should_record(key):
            recorded = self._record(key)
            if recorded is not None:
                return recorded.outputs
        if key != self._current:
            self._current = None  # a failure leaves the context with half of the new shapes
            self._outputs = self._contexts.shape(self._context, *key, self.stream)
            self._current = key
            self.new_shapes = key not in self._seen
            if len(self._seen) < _MAX_SEEN_SHAPES:
                self._seen.add(key)
        self._contexts.enqueue(self._context, self.stream)
        return self._outputs

    def close(self) -> None:
        """Release all resources, once."""
        self._views.clear()
        self._stack.close()

    def _record(self, key: _Key) -> Recorded | None:
        """Run and record a shape in a context of its own; None where that failed before the run."""
        ran = False
        try:
            context = self._contexts.context(self._scratch, self._aux_streams)
            self._contexts.bind(context, self._addresses)
            outputs = self._contexts.shape(context, *key, self.stream)
            # The first execution of a shape allocates, which a recording must not; its results are this run's.
            self._contexts.enqueue(context, self.stream)
            self._cuda.synchronize(self.stream)
            ran = True
            recorded = Recorded(self._capture(context), context, outputs)
        except DeviceError as error:
            self._contexts.disable_graphs(error)
            # The results exist, only the recording failed.
            return Recorded(0, None, outputs) if ran else None
        self._graphs.add(key, recorded)
        return recorded

    def _capture(self, context: Any) -> int:
        self._cuda.begin_capture(self.stream)
        try:
            self._contexts.enqueue(context, self.stream)
        except DeviceError:
            # The stream stays unusable until the recording ends.
            with suppress(DeviceError):
                self._cuda.destroy_graph(self._cuda.end_capture(self.stream))
            raise
        return self._cuda.end_capture(self.stream)

    def _pinned(self, binding: Binding, shape: Shape) -> tuple[NDArray[Any], int]:
        """Return the pinned memory of a tensor, which the next execution overwrites, as an array and its address."""
        found = self._views.get((binding.name, shape))
        if found is None:
            host = self._host.get(binding.name)
            if host is None:  # allocated at first use: runs on GPU arrays need none
                host = self._host[binding.name] = self._cuda.allocate_host(self._sizes[binding.name])
                self._memory.callback(self._cuda.free_host, host)
            if len(self._views) >= _MAX_VIEWS:
                self._views.clear()
            view = host[: binding.nbytes(shape)].view(binding.dtype).reshape(shape)
            found = self._views[binding.name, shape] = (view, host.ctypes.data)
        return found

    def _max_bytes(self) -> dict[str, int]:
        """Return the bytes of each tensor at the largest shapes of any profile."""
        sizes: dict[str, int] = {}
        for index, profile in enumerate(self._signature.profiles):
            high = tuple(profile[binding.name][2] for binding in self._signature.inputs)
            outputs = self._contexts.shape(self._context, index, high, self.stream)
            bindings = self._signature.inputs + self._signature.outputs
            for binding, shape in zip(bindings, high + outputs, strict=True):
                sizes[binding.name] = max(sizes.get(binding.name, 0), binding.nbytes(shape))
        return sizes

    def _whole_outputs(self, chunks: Sequence[Chunk], shapes: Sequence[Shape]) -> list[tuple[Shape, np.dtype[Any]]]:
        """Return shape and type of each output of the whole batch, given the first part's shapes."""
        if len(chunks) > 1:
            batch = sum(chunk.shapes[0][0] for chunk in chunks)
            shapes = [(batch, *shape[1:]) for shape in shapes]
        return [(shape, binding.dtype) for binding, shape in zip(self._signature.outputs, shapes, strict=True)]
