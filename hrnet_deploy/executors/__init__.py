"""Executors: chunks of work in other processes, on a Ray cluster or on a Dask cluster; the only importer of both."""

from hrnet_deploy.executors.chunks import run_chunks, worker_threads
from hrnet_deploy.executors.cluster import worker_count
from hrnet_deploy.executors.names import check_executor, open_executor

__all__ = ["check_executor", "open_executor", "run_chunks", "worker_count", "worker_threads"]
