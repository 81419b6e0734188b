"""One lane: a stream with the buffers, contexts and graphs that one thread at a time uses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.engines.cuda.device_array import DeviceArray, MemoryPool
from hrnet_deploy.engines.cuda.device_view import DeviceView
from hrnet_deploy.engines.tensorrt.context_factory import ContextFactory
from hrnet_deploy.engines.tensorrt.cuda_graphs import GraphCache, Recorded
from hrnet_deploy.engines.tensorrt.io_buffers import IoBuffers
from hrnet_deploy.engines.tensorrt.io_signature import Binding, Chunk, Shape
from hrnet_deploy.errors import DeviceError

_Key = tuple[int, tuple[Shape, ...]]
_REMEMBERED_SHAPES = 4096


class ExecutionSlot:
    """Executes batches, one after the other.

    A graph holds the net alone. The copies stay outside, because a batch may come from the host or from the GPU and
    one graph then serves both; they cost two enqueues, which the GPU's work hides.

    Attributes:
        stream: everything of this lane happens on it, in order.
        new_shapes: whether the last `compute` saw a shape for the first time.
    """

    def __init__(self, executor: ContextFactory, cuda: Cuda, *, graphs: int) -> None:
        """Allocate everything a batch will need, the pinned memory excepted.

        Args:
            executor: the engine's.
            cuda: the provider, its GPU current.
            graphs: CUDA graphs kept at most; 0 for none.

        Raises:
            DeviceError: no memory, or TensorRT refused; nothing stays allocated.
            ArtifactError: an output whose shape depends on values.
        """
        self._executor = executor
        self._cuda = cuda
        self._signature = executor.signature
        self._current: _Key | None = None
        self._outputs: tuple[Shape, ...] = ()
        self._seen: set[_Key] = set()
        self.new_shapes = False
        with ExitStack() as stack:
            self.stream = cuda.stream()
            stack.callback(cuda.destroy_stream, self.stream)
            self._aux_streams: list[int] = []
            for _ in range(executor.aux_streams):
                self._aux_streams.append(cuda.stream())
                stack.callback(cuda.destroy_stream, self._aux_streams[-1])
            self._scratch = 0
            if executor.scratch_bytes:
                self._scratch = cuda.allocate(executor.scratch_bytes)
                stack.callback(cuda.free, self._scratch)
            self._context: Any = executor.context(self._scratch, self._aux_streams)
            stack.callback(self._forget)
            self._buffers = IoBuffers(cuda, self._largest(), self.stream)
            stack.callback(self._buffers.close)
            executor.bind(self._context, self._buffers.addresses)
            self._graphs = GraphCache(cuda, graphs if executor.records else 0)
            stack.callback(self._graphs.close)
            self._stack = stack.pop_all()

    def run(self, chunks: Sequence[Chunk], arrays: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Compute a batch from and to host memory.

        Args:
            chunks: how to split it.
            arrays: the inputs.

        Returns:
            The outputs, in memory of their own.

        Raises:
            DeviceError: CUDA or TensorRT failed.
        """
        results: list[NDArray[np.generic]] = []
        whole = len(chunks) == 1
        for chunk in chunks:
            for binding, array, shape in zip(self._signature.inputs, arrays, chunk.shapes, strict=True):
                self._buffers.load(binding, array if whole else array[chunk.start : chunk.start + shape[0]])
            shapes = self.compute(chunk)
            for binding, shape in zip(self._signature.outputs, shapes, strict=True):
                self._buffers.store(binding, shape)
            self._cuda.synchronize(self.stream)
            if whole:
                return [
                    self._buffers.host(b, shape).copy()
                    for b, shape in zip(self._signature.outputs, shapes, strict=True)
                ]
            if not results:
                results = [np.empty(*joined) for joined in self._joined(chunks, shapes)]
            for binding, shape, result in zip(self._signature.outputs, shapes, results, strict=True):
                np.copyto(result[chunk.start : chunk.start + shape[0]], self._buffers.host(binding, shape))
        return results

    def run_on_device(
        self, chunks: Sequence[Chunk], views: Sequence[DeviceView], blocks: MemoryPool
    ) -> list[DeviceArray]:
        """Compute a batch from and to GPU memory; the copies within it cost microseconds and keep graphs valid.

        Args:
            chunks: how to split it.
            views: the inputs.
            blocks: memory for results.

        Returns:
            The outputs, complete, in memory of their own.

        Raises:
            DeviceError: CUDA or TensorRT failed.
        """
        results: list[DeviceArray] = []
        for chunk in chunks:
            for binding, view, shape in zip(self._signature.inputs, views, chunk.shapes, strict=True):
                address = view.address + _row_bytes(binding, shape) * chunk.start
                self._buffers.load_across(binding, address, binding.nbytes(shape))
            shapes = self.compute(chunk)
            if not results:
                results = [DeviceArray(blocks, *joined, self.stream) for joined in self._joined(chunks, shapes)]
            for binding, shape, result in zip(self._signature.outputs, shapes, results, strict=True):
                address = result.address + _row_bytes(binding, shape) * chunk.start
                self._buffers.store_across(binding, address, shape)
        # The caller may read the results on any stream, and change its inputs: all is done when it gets them.
        self._cuda.synchronize(self.stream)
        return results

    def compute(self, chunk: Chunk) -> tuple[Shape, ...]:
        """Put the net on the stream, as a graph where there is one.

        Args:
            chunk: profile and shapes.

        Returns:
            Shape of each output.

        Raises:
            DeviceError: CUDA or TensorRT failed.
        """
        key = (chunk.profile, chunk.shapes)
        self.new_shapes = False
        recorded = self._graphs.find(key)
        if recorded is not None:
            self._cuda.launch(recorded.graph, self.stream)
            return recorded.outputs
        if self._executor.records and self._graphs.wants(key):
            recorded = self._record(key)
            if recorded is not None:
                return recorded.outputs
        if key != self._current:
            self._current = None  # a refusal leaves the context with half of the new shapes
            self._outputs = self._executor.shape(self._context, *key, self.stream)
            self._current = key
            self.new_shapes = key not in self._seen
            if len(self._seen) < _REMEMBERED_SHAPES:
                self._seen.add(key)
        self._executor.enqueue(self._context, self.stream)
        return self._outputs

    def close(self) -> None:
        """Release everything, once, in reverse order."""
        self._stack.close()

    def _record(self, key: _Key) -> Recorded | None:
        """Run a shape in a context of its own and record it there; None where that failed before it ran."""
        ran = False
        try:
            context = self._executor.context(self._scratch, self._aux_streams)
            self._executor.bind(context, self._buffers.addresses)
            outputs = self._executor.shape(context, *key, self.stream)
            # The first execution of a shape sets up what must not happen in a recording; its results are this run's.
            self._executor.enqueue(context, self.stream)
            self._cuda.synchronize(self.stream)
            ran = True
            recorded = Recorded(self._captured(context), context, outputs)
        except DeviceError as error:
            self._executor.give_up_graphs(error)
            # The results are there, only the recording is not.
            return Recorded(0, None, outputs) if ran else None
        self._graphs.add(key, recorded)
        return recorded

    def _captured(self, context: Any) -> int:
        self._cuda.begin_capture(self.stream)
        try:
            self._executor.enqueue(context, self.stream)
        except DeviceError:
            # The stream stays unusable until the recording is ended; what it then says follows from this error.
            self._end_failed_capture()
            raise
        return self._cuda.end_capture(self.stream)

    def _end_failed_capture(self) -> None:
        try:
            graph = self._cuda.end_capture(self.stream)
        except DeviceError:
            return
        self._cuda.destroy_graph(graph)

    def _largest(self) -> dict[str, int]:
        """Bytes of each tensor at the largest shapes of any profile."""
        sizes: dict[str, int] = {}
        for profile in self._signature.profiles:
            high = tuple(profile.ranges[binding.name][2] for binding in self._signature.inputs)
            outputs = self._executor.shape(self._context, profile.index, high, self.stream)
            bindings = self._signature.inputs + self._signature.outputs
            for binding, shape in zip(bindings, high + outputs, strict=True):
                sizes[binding.name] = max(sizes.get(binding.name, 0), binding.nbytes(shape))
        return sizes

    def _joined(self, chunks: Sequence[Chunk], shapes: Sequence[Shape]) -> list[tuple[Shape, np.dtype[Any]]]:
        """Shape and type of each output of the whole batch, from those of its first part."""
        whole = len(chunks) == 1
        batch = sum(chunk.shapes[0][0] for chunk in chunks) if not whole else 0
        return [
            (shape if whole else (batch, *shape[1:]), binding.dtype)
            for binding, shape in zip(self._signature.outputs, shapes, strict=True)
        ]

    def _forget(self) -> None:
        self._context = None


def _row_bytes(binding: Binding, shape: Shape) -> int:
    """Bytes from one item of a batch to the next."""
    return binding.nbytes(shape[1:])
