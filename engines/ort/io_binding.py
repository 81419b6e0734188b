"""ONNX Runtime's IO binding: one set of fixed buffers per input shape, each replayed as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.engines.ort.session import spec
from hrnet_deploy.engines.ort.staging import PinnedStaging
from hrnet_deploy.errors import one_line
from hrnet_deploy.protocols import Tensors

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")
_GRAPH_KEY = "gpu_graph_id"
_NO_GRAPH = "-1"
_MAX_GRAPHS = 8
"""Max number of captured shapes: ONNX Runtime frees no graph before the session ends."""
_MAX_UNCAPTURED = 4
"""Max number of shapes without a graph whose buffers are kept."""
_TOLERANCE_HALF, _TOLERANCE = 2e-2, 2e-3

Shapes = tuple[tuple[int, ...], ...]


@dataclass
class Buffers:
    """The device memory of one input shape.

    Attributes:
        run_options: with the number of the graph, or -1 for none.
    """

    binding: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    run_options: Any
    has_graph: bool


class BoundSession:
    """A session that runs through fixed buffers in one thread of its own; callable from any thread.

    ONNX Runtime keeps CUDA graphs and the handles of cuBLAS and cuDNN per thread, and frees none while graphs are on.
    Runs from new threads would capture each shape again, and memory would grow.

    While a shape is captured, at its first runs, CUDA refuses allocations in all threads of the process. Both the
    capture and the allocation then fail, so run each shape once before other threads allocate.
    """

    def __init__(
        self,
        session: Any,
        *,
        device_type: str,
        device: int,
        graphs: bool,
        at_once: bool = True,
        worker: ThreadPoolExecutor | None = None,
        staging: PinnedStaging | None = None,
    ) -> None:
        """Wrap an onnxruntime.InferenceSession, which `worker` opened.

        `device_type` is "cuda", or "cpu" for the same logic without a GPU. With `graphs`, each shape is captured as a
        CUDA graph: `at_once` at its first run, else when it returns, so that many sizes do not use up the graphs. A
        graph whose outputs differ from a run without it is dropped. Without `staging`, ONNX Runtime copies itself.
        """
        self._session = session
        self._outputs = tuple(spec(value) for value in session.get_outputs())
        self._place = (device_type, device)
        self.graphs = graphs
        self._captured = 0
        self._at_once = at_once
        self._buffers: dict[Shapes, Buffers] = {}
        self._worker = worker or ThreadPoolExecutor(1, thread_name_prefix="hrnet-gpu")
        self._staging = staging

    @property
    def cuda_graphs(self) -> int:
        """Number of shapes that replay a CUDA graph."""
        return sum(buffers.has_graph for buffers in list(self._buffers.values()))

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute from and to host memory; the outputs are fresh arrays."""
        feed = {name: np.ascontiguousarray(array) for name, array in feed.items()}

        def fill(buffers: Buffers) -> None:
            if self._staging is not None:
                self._staging.load(buffers.inputs, feed)
                return
            for name, array in feed.items():
                if array.size:
                    buffers.inputs[name].update_inplace(array)

        def read(buffers: Buffers) -> Tensors:
            if self._staging is not None:
                return self._staging.store(buffers.outputs)
            # `numpy` copies from a GPU; on a CPU it is a view of the buffer, which the next run overwrites.
            on_cpu = self._place[0] == "cpu"
            return {
                name: np.array(value.numpy(), copy=True if on_cpu else None) for name, value in buffers.outputs.items()
            }

        return self.run_in_place(feed, fill, read)

    def run_in_place(
        self, arrays: Mapping[str, Any], fill: Callable[[Buffers], None], read: Callable[[Buffers], Result]
    ) -> Result:
        """Compute with functions that fill and read the buffers in the session's thread.

        `arrays` have the shape and type of each input. `fill` returns when the inputs are complete; `read` returns the
        outputs before the next run overwrites them.
        """

        def work() -> Result:
            key = tuple(tuple(array.shape) for array in arrays.values())
            buffers = self._buffers.pop(key, None)
            if buffers is None:
                buffers = self._bind(arrays, fill)
            else:
                fill(buffers)
                self._run(buffers)
                if not buffers.has_graph:
                    self._capture(buffers)
            self._buffers[key] = buffers
            uncaptured = [shapes for shapes, entry in self._buffers.items() if not entry.has_graph]
            for shapes in uncaptured[:-_MAX_UNCAPTURED]:
                del self._buffers[shapes]
            return read(buffers)

        return self._worker.submit(work).result()

    def close(self) -> None:
        """Release the buffers and the session, and end its thread."""

        def work() -> None:
            self._buffers.clear()
            self._session = None
            if self._staging is not None:
                self._staging.close()

        try:
            self._worker.submit(work).result()
        finally:
            self._worker.shutdown()

    def _run(self, buffers: Buffers) -> None:
        self._session.run_with_iobinding(buffers.binding, buffers.run_options)

    def _bind(self, arrays: Mapping[str, Any], fill: Callable[[Buffers], None]) -> Buffers:
        """Create the buffers of a new shape, which also runs it."""
        given = {name: self._empty(tuple(array.shape), str(array.dtype)) for name, array in arrays.items()}
        buffers = Buffers(self._session.io_binding(), given, {}, _run_options(_NO_GRAPH), has_graph=False)
        for name, value in given.items():
            buffers.binding.bind_ortvalue_input(name, value)
        for output in self._outputs:
            # ONNX Runtime allocates these: their shapes are only known after a run.
            buffers.binding.bind_output(output.name, *self._place)
        fill(buffers)
        self._run(buffers)
        for output, value in zip(self._outputs, buffers.binding.get_outputs(), strict=True):
            fixed = buffers.outputs[output.name] = self._empty(tuple(value.shape()), output.dtype)
            buffers.binding.bind_ortvalue_output(output.name, fixed)
        self._run(buffers)
        if self._at_once:
            self._capture(buffers)
        return buffers

    def _capture(self, buffers: Buffers) -> None:
        """Capture a graph after a run without one, and keep it only where its outputs match that run's."""
        if not self.graphs or self._captured >= _MAX_GRAPHS:
            return
        reference = {name: np.array(value.numpy()) for name, value in buffers.outputs.items()}
        buffers.run_options = _run_options(str(self._captured))
        self._captured += 1
        try:
            self._run(buffers)
            self._run(buffers)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own types share no base but Exception
            flaw = one_line(error, 200)
        else:
            values = ((value.numpy(), reference[name]) for name, value in buffers.outputs.items())
            flaw = "" if all(outputs_match(found, expected) for found, expected in values) else "its outputs differ"
        buffers.has_graph = not flaw
        if flaw:
            # Later captures would fail as well; earlier graphs stay in use.
            self.graphs = False
            _LOG.warning("CUDA graphs are not used here: %s", flaw)
            buffers.run_options = _run_options(_NO_GRAPH)
            self._run(buffers)

    def _empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype), *self._place)


def outputs_match(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Compare two runs of a graph: floats within a small part of the largest, 99.9 % of integers equal."""
    if not found.size:
        return True
    if not np.issubdtype(expected.dtype, np.floating):
        return bool(np.mean(found == expected) >= 0.999)
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    tolerance = _TOLERANCE_HALF if expected.dtype == np.float16 else _TOLERANCE
    limit = tolerance * float(finite.max(initial=0.0))
    return bool(np.allclose(found, expected, rtol=0, atol=limit, equal_nan=True))


def _run_options(graph: str) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(_GRAPH_KEY, graph)
    return options
