"""Kernel timings kept between builds: the second build of a model takes a fraction of the first."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.errors import HrnetDeployError, MissingFileError, UsageError
from hrnet_deploy.limits import TIMING_CACHE_BYTES
from hrnet_deploy.system.regular_file import read_regular

if TYPE_CHECKING:
    import tensorrt as trt

_LOG = logging.getLogger(__name__)


def attach(api: TrtApi, config: trt.IBuilderConfig, path: Path | None) -> trt.ITimingCache | None:
    """Attach the timings of a file to a build, or an empty cache where the file has none that fit."""
    # TensorRT itself checks that timings are of this GPU and version.
    if path is None or not api.timing_cache:
        return None
    content = b""
    try:
        content = read_regular(path, "timing cache", TIMING_CACHE_BYTES)
    except MissingFileError:
        pass
    except HrnetDeployError as error:
        _LOG.warning("timing cache is left unread: %s", error)
    cache = _set_cache(config, content)
    if cache is None and content:
        _LOG.warning(
            "timing cache %s was refused by %s, as one of another GPU or version is; it is made anew", path, api.label
        )
        cache = _set_cache(config, b"")
    return cache


def save(cache: trt.ITimingCache, path: Path) -> None:
    """Write the timings of a finished build; a failure is only logged."""
    memory: Any = cache.serialize()
    if memory is None:
        _LOG.warning("timing cache %s is not written: TensorRT gave none", path)
        return
    try:
        with atomic_output(path) as temporary:
            temporary.write_bytes(memory)
    except (OSError, UsageError) as error:
        _LOG.warning("timing cache %s is not written: %s", path, error)


def _set_cache(config: trt.IBuilderConfig, content: bytes) -> trt.ITimingCache | None:
    try:
        cache: Any = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache  # type: ignore[no-any-return, unused-ignore]  # Any without the stubs
    except (RuntimeError, ValueError, TypeError) as error:
        _LOG.debug("%s", error)
    return None
