"""The infer requests of one compiled graph, shared by all threads."""

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
    """Runs feeds side by side on a limited number of requests; safe to use from several threads."""

    def __init__(self, compiled: Any, size: int, weights: NDArray[Any] | None = None) -> None:
        """Create the first request, which also prepares the graph; `weights` is memory that OpenVINO does not own."""
        self._compiled = compiled
        self._outputs = len(compiled.outputs)
        self._available = size - 1
        self._lock = threading.Lock()
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._idle.put(compiled.create_infer_request())
        self._weights = weights

    def run(self, feeds: Sequence[Arrays]) -> list[Arrays]:
        """Run every feed and return its outputs in order; each feed is one C-contiguous array per graph input."""
        started: collections.deque[Any] = collections.deque()
        results: list[Arrays] = []
        try:
            for feed in feeds:
                request = self._idle_request()
                if request is None and started:
                    # Waiting for another thread's request while holding some could deadlock.
                    request = started[0]
                    results.append(self._collect(request))
                    started.popleft()
                elif request is None:
                    request = self._idle.get()
                started.append(request)
                request.start_async(dict(enumerate(feed)), share_inputs=True)
            while started:
                results.append(self._collect(started[0]))
                self._idle.put(started.popleft())
        finally:
            for request in started:  # after a failure the other requests must end before their next use
                with contextlib.suppress(RuntimeError):
                    request.wait()
                self._idle.put(request)
        return results

    def _idle_request(self) -> Any:
        """Return an idle or a new request; None where all are in use."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        with self._lock:
            if not self._available:
                return None
            self._available -= 1
        return self._compiled.create_infer_request()

    def _collect(self, request: Any) -> Arrays:
        """Wait for a request and copy its outputs, whose memory it will reuse."""
        request.wait()
        return [np.array(request.get_output_tensor(index).data) for index in range(self._outputs)]
