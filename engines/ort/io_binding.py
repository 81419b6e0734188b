"""Buffers that stay where they are: ONNX Runtime's IO binding, one set a shape, each replayed as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrnet_deploy.engines.ort.staging import PinnedStaging
from hrnet_deploy.engines.ort.worker import Worker
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import TensorSpec

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_GRAPH_KEY = "gpu_graph_id"
_NO_GRAPH = "-1"
_MAX_GRAPHS = 8
"""Shapes that get a graph: ONNX Runtime frees none before the session ends."""
_MAX_LOOSE = 4
"""Shapes without a graph whose buffers are kept."""
_TOLERANCE = {"float16": 2e-2}
_TOLERANCE_ELSE = 2e-3

Shapes = tuple[tuple[int, ...], ...]


@dataclass
class Buffers:
    """Where one shape's values lie on the device.

    Attributes:
        binding: ONNX Runtime's view of them.
        inputs: by name.
        outputs: by name.
        run_options: with the number of the graph, or the one that says none.
        has_graph: whether runs replay one.
    """

    binding: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    run_options: Any
    has_graph: bool


class BoundSession:
    """A session run through fixed buffers; callable from any thread, it runs in one thread of its own.

    While a graph is captured, at the first runs of a shape, CUDA refuses allocations in all threads of the process. A
    capture that an allocation ends is given up; the allocation fails as well, so run each shape once before other
    threads allocate.
    """

    def __init__(
        self,
        session: Any,
        outputs: tuple[TensorSpec, ...],
        *,
        device_type: str,
        device: int,
        graphs: bool,
        at_once: bool = True,
        worker: Worker | None = None,
        staging: PinnedStaging | None = None,
    ) -> None:
        """Wrap a session.

        Args:
            session: onnxruntime.InferenceSession.
            outputs: of the graph.
            device_type: "cuda", or "cpu" where the same logic runs without a GPU.
            device: index.
            graphs: whether the session may capture CUDA graphs; the first run of each shape proves its graph against
                a run without, and one that answers differently is not used.
            at_once: capture a shape when it is first seen; otherwise when it comes back, so that images of many sizes
                do not use up the graphs.
            worker: the thread that opened the session; None for a new one.
            staging: copies from and to the host; None for ONNX Runtime's own copies.
        """
        self._session = session
        self._outputs = outputs
        self._place = (device_type, device)
        self.graphs = graphs
        self._captured = 0
        self._at_once = at_once
        self._kept: dict[Shapes, Buffers] = {}
        self._worker = worker or Worker("hrnet-gpu")
        self._staging = staging
        self._dtypes = {spec.name: spec.dtype for spec in outputs}

    @property
    def cuda_graphs(self) -> int:
        """How many of the shapes that are kept replay a CUDA graph."""
        return sum(buffers.has_graph for buffers in list(self._kept.values()))

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute from and to host memory.

        Args:
            feed: by input; fitting arrays.

        Returns:
            Fresh arrays by output.
        """
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
                return self._staging.store(buffers.outputs, self._dtypes)
            # From a GPU `numpy` copies; on a CPU it is a view of the buffer, which the next run overwrites.
            on_cpu = self._place[0] == "cpu"
            return {
                name: np.array(value.numpy(), copy=True if on_cpu else None) for name, value in buffers.outputs.items()
            }

        return self.run_in_place({name: (array.shape, array.dtype.name) for name, array in feed.items()}, fill, read)

    def run_in_place(
        self,
        inputs: Mapping[str, tuple[tuple[int, ...], str]],
        fill: Callable[[Buffers], None],
        read: Callable[[Buffers], _T],
    ) -> _T:
        """Compute with whatever fills and reads the buffers.

        Args:
            inputs: shape and NumPy type by input.
            fill: writes the inputs, and returns when they are complete; called in the session's thread.
            read: takes the outputs out, before the next run overwrites them; likewise.

        Returns:
            What `read` returns.
        """

        def work() -> _T:
            key = tuple(shape for shape, _ in inputs.values())
            buffers = self._kept.pop(key, None)
            if buffers is None:
                buffers = self._bound(inputs, fill)
            else:
                fill(buffers)
                self._run(buffers)
                if not buffers.has_graph:
                    self._capture(buffers)
            self._kept[key] = buffers
            loose = [shapes for shapes, kept in self._kept.items() if not kept.has_graph]
            for shapes in loose[:-_MAX_LOOSE]:
                del self._kept[shapes]
            return read(buffers)

        return self._worker.call(work)

    def close(self) -> None:
        """Release the buffers and the session, and end its thread."""

        def work() -> None:
            self._kept.clear()
            self._session = None
            if self._staging is not None:
                self._staging.close()

        try:
            self._worker.call(work)
        finally:
            self._worker.close()

    def _run(self, buffers: Buffers) -> None:
        self._session.run_with_iobinding(buffers.binding, buffers.run_options)

    def _bound(self, inputs: Mapping[str, tuple[tuple[int, ...], str]], fill: Callable[[Buffers], None]) -> Buffers:
        """Buffers of a new shape, already run once."""
        given = {name: self._empty(shape, dtype) for name, (shape, dtype) in inputs.items()}
        buffers = Buffers(self._session.io_binding(), given, {}, _run_options(_NO_GRAPH), has_graph=False)
        for name, value in given.items():
            buffers.binding.bind_ortvalue_input(name, value)
        for spec in self._outputs:
            # ONNX Runtime allocates these: their shapes are only known after a run.
            buffers.binding.bind_output(spec.name, *self._place)
        fill(buffers)
        self._run(buffers)
        first = dict(zip((spec.name for spec in self._outputs), buffers.binding.get_outputs(), strict=True))
        for spec in self._outputs:
            fixed = self._empty(tuple(first[spec.name].shape()), spec.dtype)
            buffers.outputs[spec.name] = fixed
            buffers.binding.bind_ortvalue_output(spec.name, fixed)
        self._run(buffers)
        if self._at_once:
            self._capture(buffers)
        return buffers

    def _capture(self, buffers: Buffers) -> None:
        """After a run without a graph: capture one and replay it; keep it only where it answers as that run did."""
        if not self.graphs or self._captured >= _MAX_GRAPHS:
            return
        reference = {name: np.array(value.numpy()) for name, value in buffers.outputs.items()}
        buffers.run_options = _run_options(str(self._captured))
        self._captured += 1
        try:
            self._run(buffers)
            self._run(buffers)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own types share no base but Exception
            flaw = " ".join(str(error).split())[:200]
        else:
            values = ((value.numpy(), reference[name]) for name, value in buffers.outputs.items())
            flaw = "" if all(alike(found, wanted) for found, wanted in values) else "its answers differ"
        buffers.has_graph = not flaw
        if flaw:
            # One failure speaks for the machine; what was captured before goes on.
            self.graphs = False
            _LOG.warning("CUDA graphs are not used here: %s", flaw)
            buffers.run_options = _run_options(_NO_GRAPH)
            self._run(buffers)

    def _empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype), *self._place)


def alike(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Whether two runs of one graph on one input agree, up to the order of sums.

    Args:
        found: one answer.
        wanted: the other.

    Returns:
        True for floats within a small part of the largest, and for 99.9 % equal integers.
    """
    if not found.size:
        return True
    if not np.issubdtype(wanted.dtype, np.floating):
        return bool(np.mean(found == wanted) >= 0.999)
    finite = np.abs(wanted[np.isfinite(wanted)].astype(np.float64))
    limit = _TOLERANCE.get(wanted.dtype.name, _TOLERANCE_ELSE) * float(finite.max(initial=0.0))
    return bool(np.allclose(found, wanted, rtol=0, atol=limit, equal_nan=True))


def _run_options(graph: str) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(_GRAPH_KEY, graph)
    return options
