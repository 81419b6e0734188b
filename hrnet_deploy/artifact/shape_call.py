"""One node of an ONNX graph, with the shapes and known numbers of its inputs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from hrnet_deploy.artifact.onnx_graph import Node, StoredTensor, Values

Shape = tuple[int, ...]


class UnknownSizeError(ValueError):
    """A size that neither shapes nor stored numbers tell."""


class Call:
    """One node with the shapes and known values of its inputs."""

    def __init__(self, node: Node, shapes: Mapping[str, Shape], values: Mapping[str, Values | StoredTensor]) -> None:
        self.node = node
        self._shapes, self._values = shapes, values

    def has(self, index: int) -> bool:
        """Return whether an optional input is given."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def shape(self, index: int = 0) -> Shape:
        """Return the shape of an input."""
        if not self.has(index):
            raise UnknownSizeError(f"no input {index}")
        return self._shapes[self.node.inputs[index]]

    def value(self, index: int) -> Values:
        """Return the numbers of an input."""
        name = self.node.inputs[index] if self.has(index) else ""
        found = self._values.get(name)
        if isinstance(found, StoredTensor):
            found = found.values()
        if found is None:
            raise UnknownSizeError(f"input {index} is computed from the image")
        return found

    def numbers(self, index: int, attribute: str) -> list[Any] | None:
        """Return a list that newer opsets take as an input and older ones as an attribute; None without it."""
        if self.has(index):
            return list(self.value(index).ravel().tolist())
        found = self.node.attribute(attribute)
        return found if found is None or isinstance(found, list) else [found]

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute."""
        return self.node.attribute(name, default)


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape of an elementwise result."""
    columns = itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return tuple(max(sizes) if 0 not in sizes else 0 for sizes in columns)[::-1]
