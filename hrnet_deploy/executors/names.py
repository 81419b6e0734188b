"""Executors by name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import Executor

from hrnet_deploy.errors import UsageError
from hrnet_deploy.executors.dask_client import open_dask
from hrnet_deploy.executors.processes import open_processes
from hrnet_deploy.executors.ray_tasks import open_ray

_NAMES = "processes:N, ray://local, ray://HOST:PORT, dask://HOST:PORT"
_NAME = re.compile(r"processes:(?P<count>[0-9]{1,9})|ray://local|(?:ray|dask)://[^\s/]+:[0-9]{1,5}")
_OPENERS = {"processes": open_processes, "ray": open_ray, "dask": open_dask}
_MAX_PROCESSES = 1024


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
    with _OPENERS[kind](place.removeprefix("//"), threads) as opened:
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
