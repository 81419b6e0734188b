"""Infer requests of one compiled graph, shared by all threads that run it."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = list[NDArray[Any]]


class RequestPool:
    """Runs feeds side by side, on as many requests as there are at most; safe to use from several threads."""

    def __init__(self, compiled: Any, size: int, weights: NDArray[Any] | None = None) -> None:
        """Create the first request, which also prepares the graph.

        Args:
            compiled: openvino.CompiledModel.
            size: requests at most, at least 1.
            weights: memory that the graph reads and OpenVINO does not own.
        """
        self._compiled = compiled
        self._outputs = len(compiled.outputs)
        self._left = size - 1
        self._lock = threading.Lock()
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._idle.put(compiled.create_infer_request())
        self._weights = weights

    def run(self, feeds: Sequence[Arrays]) -> list[Arrays]:
        """Start every feed as soon as a request is free, and wait for all.

        Args:
            feeds: one array per graph input each, C-contiguous.

        Returns:
            One array per graph output for each feed, in the order of the feeds.

        Raises:
            RuntimeError: OpenVINO failed.
        """
        started: collections.deque[Any] = collections.deque()
        results: list[Arrays] = []
        try:
            for feed in feeds:
                request = self._free()
                if request is None and started:
                    # Waiting for another thread's request while holding some could block both.
                    request = started[0]
                    results.append(self._finished(request))
                    started.popleft()
                elif request is None:
                    request = self._idle.get()
                started.append(request)
                request.start_async(dict(enumerate(feed)), share_inputs=True)
            while started:
                results.append(self._finished(started[0]))
                self._idle.put(started.popleft())
        finally:
            for request in started:  # one failed: the others must end before anyone else takes them
                with contextlib.suppress(RuntimeError):
                    request.wait()
                self._idle.put(request)
        return results

    def _free(self) -> Any:
        """An idle request, or a new one; None where all are in use."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        with self._lock:
            if not self._left:
                return None
            self._left -= 1
        return self._compiled.create_infer_request()

    def _finished(self, request: Any) -> Arrays:
        """Wait, and copy the outputs, whose memory the request uses again."""
        request.wait()
        return [np.array(request.get_output_tensor(index).data) for index in range(self._outputs)]
