"""CUDA graphs by shape: a whole net launched with one call."""

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
    """An executable graph and what it needs to stay valid.

    Attributes:
        graph: the executable graph.
        context: the execution context it was recorded from. It is never run or changed again, for that would make the
            graph's behaviour undefined. Source: TensorRT's developer guide, "CUDA graphs": one execution context per
            captured graph, memory shared across the contexts.
        outputs: shape of every output, in the signature's order.
    """

    graph: int
    context: Any
    outputs: tuple[Shape, ...]


class GraphCache:
    """The graphs of one lane, least recently used first out."""

    def __init__(self, cuda: Cuda, capacity: int) -> None:
        """Start empty.

        Args:
            cuda: the provider.
            capacity: graphs kept at most; 0 for none.
        """
        self._cuda = cuda
        self._capacity = capacity
        self._recorded: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._sightings: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._recorded)

    def find(self, key: Hashable) -> Recorded | None:
        """The graph of a shape, which becomes the most recently used one.

        Args:
            key: profile and shapes.

        Returns:
            The graph, or None.
        """
        found = self._recorded.get(key)
        if found is not None:
            self._recorded.move_to_end(key)
        return found

    def wants(self, key: Hashable) -> bool:
        """Whether a shape without a graph deserves one; counts this sighting.

        The first run of a shape is not worth a recording. Once the cache is full a shape must come back more often, or
        many shapes in turn would be recorded again and again.

        Args:
            key: profile and shapes.

        Returns:
            True where it should be recorded now.
        """
        if not self._capacity:
            return False
        if len(self._sightings) >= _COUNTED_SHAPES:
            self._sightings.clear()
        count = self._sightings[key] = self._sightings.get(key, 0) + 1
        return count >= (_SIGHTINGS if len(self._recorded) < self._capacity else _SIGHTINGS_TO_REPLACE)

    def add(self, key: Hashable, recorded: Recorded) -> None:
        """Keep a graph; the one not used for longest makes room.

        Args:
            key: profile and shapes, not in the cache.
            recorded: the graph.

        Raises:
            DeviceError: the old graph could not be given back.
        """
        self._sightings.pop(key, None)
        self._recorded[key] = recorded
        while len(self._recorded) > self._capacity:
            _, oldest = self._recorded.popitem(last=False)
            self._cuda.destroy_graph(oldest.graph)

    def close(self) -> None:
        """Give every graph back, once."""
        self._capacity = 0
        while self._recorded:
            _, recorded = self._recorded.popitem()
            with suppress(DeviceError):  # the others are given back nevertheless
                self._cuda.destroy_graph(recorded.graph)
