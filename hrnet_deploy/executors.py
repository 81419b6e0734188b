"""Executors: chunks of work in other processes, on a Ray cluster or on a Dask cluster; the only importer of both.

Workers are stateless tasks, not pinned actors: a pool of Ray actors hangs where its node is lost, tasks move on.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import multiprocessing
import os
import re
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hrnet_deploy.errors import DeviceError, HrnetDeployError, MissingDependencyError, UsageError, one_line
from hrnet_deploy.system.cores import cores
from hrnet_deploy.system.cpu_share import CpuShare

Chunk = TypeVar("Chunk")
R = TypeVar("R")

_NAMES = "processes:N, ray://local, ray://HOST:PORT, dask://HOST:PORT"
_NAME = re.compile(r"processes:(?P<count>[0-9]{1,9})|ray://local|(?:ray|dask)://[^\s/]+:[0-9]{1,5}")
_RETRIES = 5
_DEFAULT_SLOTS = 16  # chunks at a time on an executor that does not report its size
_MAX_PROCESSES = 1024
_ERROR_LENGTH = 300


_THREADS: contextvars.ContextVar[int | None] = contextvars.ContextVar("threads", default=None)


def worker_threads() -> int | None:
    """Return the CPU threads that the running chunk may use; None outside of a worker, where all cores are free."""
    return _THREADS.get()


@contextlib.contextmanager
def open_executor(executor: str | Executor | None, *, threads: int | None = None) -> Iterator[Executor | None]:
    """Open an executor by its name, and close it at the end.

    Args:
        executor: "processes:4"; "ray://local" to start Ray on this machine; "ray://HOST:PORT", the client port of a Ray
            cluster; "dask://HOST:PORT", a Dask scheduler. An executor object is used as it is and stays open. None is
            this process.
        threads: CPU threads of one chunk, which Ray reserves; None for one on Ray, and a share of the cores elsewhere.

    Returns:
        A context manager of the executor, or of None.

    Raises:
        UsageError: an unknown name.
        MissingDependencyError: the extra `ray` or `dask` is not installed.
        DeviceError: the cluster cannot be reached.
    """
    if executor is None or isinstance(executor, Executor):
        yield executor
        return
    check_executor(executor)
    kind, _, place = executor.partition(":")
    with {"processes": _processes, "ray": _ray, "dask": _dask}[kind](place.removeprefix("//"), threads) as opened:
        yield opened


def check_executor(executor: str | Executor | None) -> None:
    """Refuse a name that `open_executor` does not know, before any work is done.

    Args:
        executor: as for `open_executor`.

    Raises:
        UsageError: an unknown name, or a number of processes that cannot be used.
    """
    if executor is None or isinstance(executor, Executor):
        return
    found = _NAME.fullmatch(str(executor))
    if found is None:
        raise UsageError(f"executor must be one of {_NAMES}, got '{executor}'. Choose one.")
    if found["count"] and not 1 <= int(found["count"]) <= _MAX_PROCESSES:
        raise UsageError(f"executor processes:N needs N from 1 to {_MAX_PROCESSES}, got '{executor}'. Use processes:2.")


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
    task = functools.partial(_run, _cpu_share(executor), work)
    source = enumerate(chunks)
    pending: dict[Future[_Outcome[R]], tuple[int, Chunk, int]] = {}
    try:
        while True:
            for position, chunk in itertools.islice(source, max(0, limit - len(pending))):
                pending[_submit(executor, task, chunk)] = (position, chunk, 0)
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                position, chunk, lost = pending.pop(future)
                outcome = _outcome(future, lost)
                if outcome is None:
                    pending[_submit(executor, task, chunk)] = (position, chunk, lost + 1)
                else:
                    yield position, outcome.get()
    finally:
        for future in pending:
            future.cancel()


def worker_count(executor: Executor) -> int:
    """Return how many chunks an executor runs at a time.

    Args:
        executor: an executor that `open_executor` opened.

    Returns:
        The number at this moment, since a cluster may grow; an estimate for an executor that does not report it.
    """
    return executor.slots if isinstance(executor, _Engine) else _pool_size(executor) or _DEFAULT_SLOTS


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


def _outcome(future: Future[_Outcome[R]], lost: int) -> _Outcome[R] | None:
    """Return a finished chunk's outcome; None where its worker was lost and it must run again."""
    try:
        return future.result()
    except BrokenExecutor as error:
        raise _broken(error) from error
    except Exception as error:  # of the engine, because those of the work are values
        if lost >= _RETRIES:
            raise _broken(error) from error
        return None


def _broken(error: Exception) -> DeviceError:
    text = one_line(error, _ERROR_LENGTH) or type(error).__name__
    return DeviceError(f"executor must keep its workers, got: {text}. Run again; a worker may lack memory.")


class _Engine(Executor):
    """An executor of a cluster, with its size and the share of a worker.

    Attributes:
        slots: chunks that run at a time when it is opened; a cluster may grow or shrink later.
    """

    slots: int
    share: CpuShare


def _cpu_share(executor: Executor) -> CpuShare:
    """Return a worker's share; a pool of the standard library has all its workers on one machine."""
    return executor.share if isinstance(executor, _Engine) else CpuShare(workers=_pool_size(executor))


def _pool_size(executor: Executor) -> int | None:
    """Return the size of a pool of the standard library; None for another executor."""
    known = getattr(executor, "_max_workers", None)
    return known if isinstance(known, int) and known > 0 else None


@contextlib.contextmanager
def _processes(count: str, _: int | None) -> Iterator[Executor]:
    """Open a pool of spawned processes, which inherit no locks of runtimes as forked ones do."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(int(count), mp_context=context, initializer=_start_process, initargs=(int(count),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_process(workers: int) -> None:
    """Leave Ctrl-C to the driver, which ends the pool, and limit the threads of libraries that load later."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(CpuShare(workers).count()))


class _RayExecutor(_Engine):
    """Ray tasks as futures; Ray itself runs a task again whose worker or node is lost."""

    def __init__(self, ray: Any, threads: int) -> None:
        self.share = CpuShare(threads=threads)
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        self._call = ray.remote(_call).options(num_cpus=threads, max_retries=_RETRIES, retry_exceptions=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = self._call.remote(fn, args, kwargs).future()
        return future


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function; the remote function that all tasks share, so that Ray registers one."""
    return function(*args, **kwargs)


@contextlib.contextmanager
def _ray(place: str, threads: int | None) -> Iterator[Executor]:
    """Connect to a Ray cluster, or start one on this machine; a connection of the caller's is used and kept."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a started cluster reports nothing to its makers
    try:
        import ray
    except ImportError as error:
        raise _missing("ray", error) from error
    own = not ray.is_initialized()
    if own:
        options = {"num_cpus": cores(), "include_dashboard": False} if place == "local" else {}
        address = place if place == "local" else f"ray://{place}"
        try:
            ray.init(address, log_to_driver=False, logging_level="error", **options)
        except Exception as error:
            raise _unreachable("Ray cluster", f"ray://{place}", error) from error
    try:
        yield _RayExecutor(ray, threads or 1)
    finally:
        if own:
            ray.shutdown()


class _DaskExecutor(_Engine):
    """A Dask client as an executor; the scheduler runs a task again whose worker is lost."""

    def __init__(self, client: Any) -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        per_machine = Counter(worker["host"] for worker in workers)
        self.share = CpuShare(workers=max(per_machine.values(), default=1))
        self.slots = max(1, sum(worker["nthreads"] for worker in workers))
        self._executor: Executor = client.get_executor(pure=False, retries=_RETRIES)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - Executor's
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


@contextlib.contextmanager
def _dask(place: str, _: int | None) -> Iterator[Executor]:
    """Connect to a Dask scheduler."""
    try:
        from distributed import Client
    except ImportError as error:
        raise _missing("dask", error) from error
    try:
        client = Client(f"tcp://{place}", set_as_default=False)
    except Exception as error:
        raise _unreachable("Dask scheduler", f"dask://{place}", error) from error
    with client:
        yield _DaskExecutor(client)


def _missing(extra: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"executor {extra}:// needs the extra {extra}, got: {error}. pip install 'hrnet-deploy[{extra}]'."
    )


def _unreachable(what: str, name: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"{what} {name} must be reachable, got: {one_line(error, _ERROR_LENGTH)}. Check its address, Python and version."
    )
