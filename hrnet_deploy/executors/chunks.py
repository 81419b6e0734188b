"""Chunks of work on an executor: bounded in flight, each result once, lost workers made good."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from hrnet_deploy.errors import DeviceError, HrnetDeployError, one_line
from hrnet_deploy.executors.cluster import ERROR_LENGTH, RETRIES, cpu_share, worker_count
from hrnet_deploy.executors.cpu_share import CpuShare

Chunk = TypeVar("Chunk")
R = TypeVar("R")

_LOG = logging.getLogger(__name__)
_QUIET_S = 120.0  # without a result, a warning: a cluster without workers waits for new ones

_THREADS: contextvars.ContextVar[int | None] = contextvars.ContextVar("threads", default=None)


def worker_threads() -> int | None:
    """Return the CPU threads that the running chunk may use; None outside of a worker, where all cores are free."""
    return _THREADS.get()


def run_chunks(
    executor: Executor | None, work: Callable[[Chunk], R], chunks: Iterable[Chunk], *, in_flight: int | None = None
) -> Iterator[tuple[int, R]]:
    """Run a function on every chunk; results come as they finish, each chunk exactly once.

    Args:
        executor: None runs the chunks one after the other in this process.
        work: a function of a module, or a `functools.partial` of one, so that other processes can import it. Inside,
            `worker_threads` is its share of the cores. Its own errors are raised here and not retried.
        chunks: arguments that can be pickled; they are drawn as workers become free.
        in_flight: chunks at workers at a time; None for two per worker.

    Yields:
        (position of the chunk, result).

    Raises:
        DeviceError: the pool is broken, or the workers of one chunk were lost several times.
        Exception: what `work` raised.
    """
    if executor is None:
        for position, chunk in enumerate(chunks):
            yield position, work(chunk)
        return
    limit = in_flight or 2 * worker_count(executor)
    task = functools.partial(_run, cpu_share(executor), work)
    source = enumerate(chunks)
    pending: dict[Future[_Outcome[R]], tuple[int, Chunk, int]] = {}
    finished: SimpleQueue[Future[_Outcome[R]]] = SimpleQueue()

    def submit(position: int, chunk: Chunk, lost: int) -> None:
        future = _submit(executor, task, chunk)
        pending[future] = (position, chunk, lost)
        future.add_done_callback(finished.put)

    try:
        while True:
            for position, chunk in itertools.islice(source, max(0, limit - len(pending))):
                submit(position, chunk, 0)
            if not pending:
                return
            future = _next(finished)
            position, chunk, lost = pending.pop(future)
            outcome = _outcome(future, lost)
            if outcome is None:
                submit(position, chunk, lost + 1)
            else:
                yield position, outcome.get()
    finally:
        for future in pending:
            future.cancel()


@dataclass(frozen=True)
class _Outcome(Generic[R]):
    """What a chunk's work returned or raised; as a value, because an engine would retry an error or rewrite it."""

    value: R | None
    error: Exception | None = None
    trace: str = ""

    def get(self) -> R:
        if isinstance(self.error, HrnetDeployError):
            raise self.error
        if self.error is not None:
            raise self.error from RuntimeError(f"in a worker:\n{self.trace}")
        return self.value  # type: ignore[return-value]  # None is a valid result


def _run(share: CpuShare, work: Callable[[Chunk], R], chunk: Chunk) -> _Outcome[R]:
    """Run a chunk in a worker."""
    token = _THREADS.set(share.count())
    try:
        return _Outcome(work(chunk))
    except Exception as error:  # noqa: BLE001 - the driver raises it again
        return _Outcome(None, error, traceback.format_exc())
    finally:
        _THREADS.reset(token)


def _submit(executor: Executor, task: Callable[[Chunk], _Outcome[R]], chunk: Chunk) -> Future[_Outcome[R]]:
    try:
        return executor.submit(task, chunk)
    except Exception as error:
        raise _broken(error) from error


def _next(finished: SimpleQueue[Future[_Outcome[R]]]) -> Future[_Outcome[R]]:
    """Wait until a chunk has finished; warn now and then while none does."""
    while True:
        with contextlib.suppress(Empty):
            return finished.get(timeout=_QUIET_S)
        _LOG.warning("no chunk has finished for %.0f s; check that the executor still has workers", _QUIET_S)


def _outcome(future: Future[_Outcome[R]], lost: int) -> _Outcome[R] | None:
    """Return a finished chunk's outcome; None where its worker was lost and it must run again."""
    try:
        return future.result()
    except BrokenExecutor as error:
        raise _broken(error) from error
    except Exception as error:  # of the engine, because those of the work are values
        if lost >= RETRIES:
            raise _broken(error) from error
        return None


def _broken(error: Exception) -> DeviceError:
    text = one_line(error, ERROR_LENGTH).rstrip(".") or type(error).__name__
    return DeviceError(f"executor must keep its workers, got: {text}. Run again; a worker may lack memory.")
