"""The number of inferences that an engine on the CPU computes side by side.

Threads that share a small convolution wait for each other, and for a thread that decodes an image meanwhile; streams do
not. Measured on 2 cores with w18_small_v2 at 224 x 224, from JPEG bytes: two streams of one thread compute 1.07 (FP32,
batch 8) to 1.29 (INT8, batch 1) times as many images per second as one stream of two threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import STREAMS, THREADS
from hrnet_deploy.system.cores import cores

_MAX = 4
_MAX_OPEN = 2  # open sizes may become large, and each stream needs memory of its own
_MAX_VALUES = 3 * 512 * 1024  # a larger image keeps all threads busy by itself


def streams_for(inputs: Mapping[str, tuple[int | str, ...]], *, streams: int | None, threads: int | None) -> int:
    """Return the requested number of streams, or the default for these input shapes, at most one per thread."""
    if streams is not None:
        if not 1 <= streams <= STREAMS:
            raise UsageError(f"streams must be 1 to {STREAMS}, got {streams}. Use 1 for the lowest latency.")
        return streams
    limit = min(_MAX, threads or cores())
    for shape in inputs.values():
        sizes = [size for size in shape[1:] if isinstance(size, int)]
        if len(sizes) < len(shape) - 1:
            limit = min(limit, _MAX_OPEN)
        elif math.prod(sizes) > _MAX_VALUES:
            limit = 1
    return limit


def check_threads(threads: int | None) -> None:
    """Refuse fewer than one thread, and more than a machine can have."""
    if threads is not None and not 1 <= threads <= THREADS:
        raise UsageError(f"threads must be 1 to {THREADS}, got {threads}. Leave it out for all cores.")


def threads_per_stream(streams: int, threads: int | None) -> int:
    """Return the size of the thread pool that all streams share; each caller's own thread counts as one."""
    return max(1, (threads or cores()) - streams + 1)
