"""How many calls an engine on the CPU computes side by side.

Threads that share one small convolution wait for each other, and all of them for one that decodes a picture meanwhile;
lanes do not. Measured on 2 cores with w18_small_v2 at 224 x 224, from JPEG bytes: two lanes of one thread answer 1.07
(FP32, batch 8) to 1.29 (INT8, batch 1) times as many images a second as one of two threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hrnet_deploy.errors import UsageError
from hrnet_deploy.system.cores import cores

_MOST = 4
_MOST_OPEN = 2  # of a size nobody knows yet, and each lane needs memory of its own
_MOST_VALUES = 3 * 512 * 1024  # an image beyond keeps the threads busy by itself


def streams_for(inputs: Mapping[str, tuple[int | str, ...]], *, lanes: int | None, threads: int | None) -> int:
    """Settle the number of lanes.

    Args:
        inputs: shapes of the graph's inputs by name; a string is an open size.
        lanes: as asked for, at least 1; None for what suits the machine and the graph.
        threads: CPU threads in all; None for all cores.

    Returns:
        `lanes`; in place of None up to 4, never more than threads: 2 for images of open size, 1 for large ones.

    Raises:
        UsageError: lanes below 1.
    """
    if lanes is not None:
        if lanes < 1:
            raise UsageError(f"lanes must be at least 1, got {lanes}. Use 1 for the lowest latency.")
        return lanes
    most = min(_MOST, threads or cores())
    for shape in inputs.values():
        sizes = [size for size in shape[1:] if isinstance(size, int)]
        if len(sizes) < len(shape) - 1:
            most = min(most, _MOST_OPEN)
        elif math.prod(sizes) > _MOST_VALUES:
            most = 1
    return most


def threads_per_stream(lanes: int, threads: int | None) -> int:
    """Threads of a pool that all lanes share and every caller's own thread adds to, the caller counted in.

    Args:
        lanes: how many callers there are.
        threads: CPU threads in all; None for all cores.

    Returns:
        At least 1, which is the caller alone.
    """
    return max(1, (threads or cores()) - lanes + 1)
