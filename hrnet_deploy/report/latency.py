"""How long one image takes in each net, measured so that a machine's moods fall on all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.evaluation.network import Network

WARM_UP = 3
"""Runs of each net that are not counted."""
BUDGET_S = 20.0
"""About how long all measuring may take."""
MOST_ROUNDS = 200
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Latency:
    """Time for one image inside the graph, copies included, reading and preprocessing not.

    Attributes:
        median_ms: half of the runs took less.
        p95_ms: 95% of the runs took less.
        runs: how many.
    """

    median_ms: float
    p95_ms: float
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"median_ms": round(self.median_ms, 4), "p95_ms": round(self.p95_ms, 4), "runs": self.runs}


def measure_latency(
    networks: Sequence[Network], images: Sequence[NDArray[np.uint8]], *, budget_s: float = BUDGET_S
) -> tuple[Latency, ...]:
    """Time nets on the same images, batch 1, each round once through all of them.

    Every other round goes backwards, so that what one net leaves behind (caches, heat) does not always fall on the
    same one.

    Args:
        networks: the nets.
        images: BGR uint8 (H, W, 3), used in turn; at least one.
        budget_s: seconds after which no further round begins, warm-up not counted; at least `FEWEST_ROUNDS` are run.

    Returns:
        One latency a net.

    Raises:
        DeviceError: the runtime failed.
    """
    rows = [[network.prepare(image) for image in images] for network in networks]
    for _ in range(WARM_UP):
        for network, pictures in zip(networks, rows, strict=True):
            network.run(pictures[:1], 1)
    times: list[list[float]] = [[] for _ in networks]
    began = time.perf_counter()
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > budget_s:
            break
        order = range(len(networks)) if number % 2 == 0 else range(len(networks) - 1, -1, -1)
        for place in order:
            picture = rows[place][number % len(images)]
            start = time.perf_counter()
            networks[place].run([picture], 1)
            times[place].append(1e3 * (time.perf_counter() - start))
    return tuple(Latency(statistics.median(own), float(np.percentile(own, 95)), len(own)) for own in times)
