"""Executors with their size, and the share of the cores that one worker has."""

from __future__ import annotations

from concurrent.futures import Executor

from hrnet_deploy.errors import DeviceError, MissingDependencyError, one_line
from hrnet_deploy.executors.cpu_share import CpuShare

ERROR_LENGTH = 300
RETRIES = 5
"""How often work runs again whose worker is lost."""
_DEFAULT_SLOTS = 16  # chunks at a time on an executor that does not report its size


class ClusterExecutor(Executor):
    """An executor of a cluster, with its size and the share of a worker.

    Attributes:
        slots: chunks that run at a time when it is opened; a cluster may grow or shrink later.
    """

    slots: int
    share: CpuShare


def cpu_share(executor: Executor) -> CpuShare:
    """Return a worker's share; a pool of the standard library has all its workers on one machine."""
    return executor.share if isinstance(executor, ClusterExecutor) else CpuShare(workers=_pool_size(executor))


def _pool_size(executor: Executor) -> int | None:
    """Return the size of a pool of the standard library; None for another executor."""
    known = getattr(executor, "_max_workers", None)
    return known if isinstance(known, int) and known > 0 else None


def worker_count(executor: Executor) -> int:
    """Return how many chunks an executor runs at a time.

    Args:
        executor: an executor that `open_executor` opened.

    Returns:
        The number at this moment, since a cluster may grow; an estimate for an executor that does not report it.
    """
    return executor.slots if isinstance(executor, ClusterExecutor) else _pool_size(executor) or _DEFAULT_SLOTS


def missing_extra(extra: str, error: ImportError) -> MissingDependencyError:
    """Make the error for an engine that is not installed."""
    return MissingDependencyError(
        f"executor {extra}:// needs the extra {extra}, got: {error}. pip install 'hrnet-deploy[{extra}]'."
    )


def unreachable(what: str, name: str, error: Exception) -> DeviceError:
    """Make the error for a cluster that cannot be reached."""
    text = one_line(error, ERROR_LENGTH).rstrip(".")
    return DeviceError(f"{what} {name} must be reachable, got: {text}. Check its address, Python and version.")
