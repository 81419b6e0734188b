"""The infer requests of one compiled graph, shared by all threads."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = list[NDArray[Any]]


class RequestPool:
    """Runs feeds side by side on a limited number of requests; safe to use from several threads."""

    def __init__(self, compiled: Any, size: int, weights: NDArray[Any] | None = None) -> None:
        """Create the first request, which also prepares the graph; `weights` is memory that OpenVINO does not own."""
        self._compiled = compiled
        self._outputs = range(len(compiled.outputs))
        self._weights = weights
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="openvino")
        # The request used last comes first; None stands for one that was not needed yet.
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for request in (*[None] * (size - 1), compiled.create_infer_request()):
            self._idle.put(request)

    def run(self, feeds: Sequence[Arrays]) -> list[Arrays]:
        """Run every feed and return its outputs in order; each feed is one C-contiguous array per graph input."""
        return [self._run(feeds[0])] if len(feeds) == 1 else list(self._threads.map(self._run, feeds))

    def _run(self, feed: Arrays) -> Arrays:
        request = self._idle.get()
        try:
            if request is None:
                request = self._compiled.create_infer_request()
            request.start_async(dict(enumerate(feed)), share_inputs=True)
            request.wait()
            # The request will reuse the memory of its outputs.
            return [np.array(request.get_output_tensor(index).data) for index in self._outputs]
        finally:
            self._idle.put(request)
