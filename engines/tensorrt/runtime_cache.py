"""A cache on disk of the kernels that TensorRT-RTX compiles for this GPU at first use."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import HrnetDeployError, UsageError
from hrnet_deploy.limits import TIMING_CACHE_BYTES
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.system.regular_file import read_regular

_LOG = logging.getLogger(__name__)


class RuntimeCache:
    """An IRuntimeCache on disk. It only saves time, so no failure of it stops a run."""

    def __init__(self, cache: Any, path: Path) -> None:
        self.cache = cache
        self._path = path
        self._lock = threading.Lock()
        self._saved = b""
        try:
            content = read_regular(path, "kernel cache", TIMING_CACHE_BYTES)
        except HrnetDeployError:
            return
        # TensorRT-RTX refuses a cache of another version, driver or GPU.
        if cache.deserialize(content):
            self._saved = content
        else:
            _LOG.info("kernels kept in %s are of another GPU, driver or version and are compiled again", path)

    def save(self) -> None:
        """Write the cache if it has grown."""
        with self._lock:
            content = bytes(self.cache.serialize() or b"")
            if content in {b"", self._saved}:
                return
            try:
                with atomic_output(self._path) as temporary:
                    temporary.write_bytes(content)
            except (UsageError, OSError) as error:
                _LOG.info("compiled kernels are not kept: %s", error)
            self._saved = content  # also after a failed write, which each new shape would repeat


def open_cache(config: Any, plan_sha256: str, capability: str) -> RuntimeCache | None:
    """Let TensorRT-RTX's runtime settings use the kernels on disk; None where it keeps none."""
    if not hasattr(config, "create_runtime_cache"):
        return None
    try:
        path = cache_path(plan_sha256, capability)
    except UsageError as error:  # no home folder
        _LOG.info("compiled kernels are not kept: %s", error)
        return None
    created = config.create_runtime_cache()
    cache = None if created is None else RuntimeCache(created, path)
    return cache if cache is not None and config.set_runtime_cache(created) else None


def cache_path(plan_sha256: str, capability: str) -> Path:
    """Return the file for the kernels of an engine on a GPU of this compute capability."""
    return cache_folder("runtime") / f"{plan_sha256[:32]}-{capability}.bin"
