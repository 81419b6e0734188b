"""The thread that runs a GPU session."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Worker:
    """Runs all calls one after the other in one thread.

    ONNX Runtime keeps CUDA graphs and the handles of cuBLAS and cuDNN per thread, and frees none while graphs are on.
    Runs from new threads would capture each shape again, and memory would grow.
    """

    def __init__(self, name: str) -> None:
        """Create the thread, which starts with the first call."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def call(self, function: Callable[[], _T]) -> _T:
        """Run a function in the thread after all earlier calls; it must not use this worker itself."""
        return self._pool.submit(function).result()

    def close(self) -> None:
        """Wait for all calls and end the thread."""
        self._pool.shutdown(wait=True)
