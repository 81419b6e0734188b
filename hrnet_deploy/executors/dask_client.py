"""A Dask cluster as an executor."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from hrnet_deploy.errors import DeviceError
from hrnet_deploy.executors.cluster import RETRIES, ClusterExecutor, missing_extra, unreachable
from hrnet_deploy.executors.cpu_share import CpuShare


class _DaskExecutor(ClusterExecutor):
    """A Dask client as an executor; the scheduler runs a task again whose worker is lost."""

    def __init__(self, client: Any) -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:  # Dask would wait for one
            raise DeviceError("a Dask scheduler must have workers, got none. Start some: dask worker HOST:PORT.")
        per_machine = Counter(worker["host"] for worker in workers)
        self.share = CpuShare(workers=max(per_machine.values()))
        self.slots = sum(worker["nthreads"] for worker in workers)
        self._executor: Executor = client.get_executor(pure=False, retries=RETRIES)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(fn, *args, **kwargs)


@contextlib.contextmanager
def open_dask(place: str, _: int | None) -> Iterator[Executor]:
    """Connect to a Dask scheduler."""
    try:
        from distributed import Client
    except ImportError as error:
        raise missing_extra("dask", error) from error
    try:
        client = Client(f"tcp://{place}", set_as_default=False)
    except Exception as error:
        raise unreachable("Dask scheduler", f"dask://{place}", error) from error
    with client:
        yield _DaskExecutor(client)
