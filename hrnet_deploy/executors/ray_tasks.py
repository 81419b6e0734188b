"""Ray tasks as an executor; a pool of actors hangs where the node of one is lost, tasks move on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.executors.cluster import RETRIES, ClusterExecutor, missing_extra, unreachable
from hrnet_deploy.executors.cpu_share import CpuShare
from hrnet_deploy.system.cores import cores


class _RayExecutor(ClusterExecutor):
    """Ray tasks as futures; Ray itself runs a task again whose worker or node is lost."""

    def __init__(self, ray: Any, threads: int) -> None:
        cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        largest = max(cpus, default=0)
        if largest < threads:  # Ray would wait for such a node
            raise UsageError(f"threads must be at most the {largest} CPUs of a Ray node, got {threads}. Use fewer.")
        self.share = CpuShare(threads=threads)
        self.slots = sum(count // threads for count in cpus)
        self._call = ray.remote(_call).options(num_cpus=threads, max_retries=RETRIES, retry_exceptions=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = self._call.remote(fn, args, kwargs).future()
        return future


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function; the remote function that all tasks share, so that Ray registers one."""
    return function(*args, **kwargs)


@contextlib.contextmanager
def open_ray(place: str, threads: int | None) -> Iterator[Executor]:
    """Connect to a Ray cluster, or start one on this machine; a connection of the caller's is used and kept."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a started cluster reports nothing to its makers
    try:
        import ray
    except ImportError as error:
        raise missing_extra("ray", error) from error
    own = not ray.is_initialized()
    if own:
        options = {"num_cpus": cores(), "include_dashboard": False} if place == "local" else {}
        address = place if place == "local" else f"ray://{place}"
        try:
            ray.init(address, log_to_driver=False, logging_level="error", **options)
        except Exception as error:
            raise unreachable("Ray cluster", f"ray://{place}", error) from error
    try:
        yield _RayExecutor(ray, threads or 1)
    finally:
        if own:
            ray.shutdown()
