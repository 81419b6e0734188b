"""The one thread in which a GPU session lives."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Worker:
    """A thread that runs calls one after the other, from first to last the same thread.

    ONNX Runtime keeps CUDA graphs and the handles of cuBLAS and cuDNN by thread, and frees none of them while graphs
    are on: a session that is run from new threads captures every shape again in each, and its memory grows.
    """

    def __init__(self, name: str) -> None:
        """Make the thread; it starts with the first call.

        Args:
            name: prefix of the thread's name.
        """
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def call(self, function: Callable[[], _T]) -> _T:
        """Run a function in the thread, after everything that was asked for before.

        Args:
            function: what to run; it must not call this worker itself.

        Returns:
            What it returns.

        Raises:
            Exception: what it raised.
            RuntimeError: the worker is closed.
        """
        return self._pool.submit(function).result()

    def close(self) -> None:
        """Wait for what was asked for, and end the thread."""
        self._pool.shutdown(wait=True)
