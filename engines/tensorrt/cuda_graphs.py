"""CUDA graphs by input shape: one call launches the whole model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.engines.tensorrt.io_signature import Shape
from hrnet_deploy.errors import DeviceError

_SIGHTINGS = 2
_SIGHTINGS_TO_REPLACE = 16
_COUNTED_SHAPES = 1024


@dataclass(frozen=True)
class Recorded:
    """An executable graph and the context that it belongs to.

    Running or changing the context again would make the graph undefined. Source: TensorRT's developer guide, "CUDA
    graphs": one execution context per captured graph, memory shared across the contexts.
    """

    graph: int
    context: Any
    outputs: tuple[Shape, ...]


class GraphCache:
    """The graphs of one execution slot; the least recently used one goes first."""

    def __init__(self, cuda: Cuda, capacity: int) -> None:
        self._cuda = cuda
        self._capacity = capacity
        self._recorded: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._sightings: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._recorded)

    def find(self, key: Hashable) -> Recorded | None:
        """Return the graph of a profile and its shapes, which becomes the most recently used; None without one."""
        found = self._recorded.get(key)
        if found is not None:
            self._recorded.move_to_end(key)
        return found

    def should_record(self, key: Hashable) -> bool:
        """Count a run of a shape and return whether to record it now."""
        # A single run is not worth a recording. In a full cache a shape must return more often: otherwise many
        # alternating shapes would be recorded again and again.
        if not self._capacity:
            return False
        if len(self._sightings) >= _COUNTED_SHAPES:
            self._sightings.clear()
        count = self._sightings[key] = self._sightings.get(key, 0) + 1
        return count >= (_SIGHTINGS if len(self._recorded) < self._capacity else _SIGHTINGS_TO_REPLACE)

    def add(self, key: Hashable, recorded: Recorded) -> None:
        """Add a graph in place of the least recently used one."""
        self._sightings.pop(key, None)
        self._recorded[key] = recorded
        while len(self._recorded) > self._capacity:
            _, oldest = self._recorded.popitem(last=False)
            self._cuda.destroy_graph(oldest.graph)

    def close(self) -> None:
        """Destroy all graphs."""
        self._capacity = 0
        while self._recorded:
            _, recorded = self._recorded.popitem()
            with suppress(DeviceError):  # the others are destroyed nevertheless
                self._cuda.destroy_graph(recorded.graph)
