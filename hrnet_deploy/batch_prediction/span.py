"""Consecutive images in one place: files, members of a tar shard or rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hrnet_deploy.batch_prediction.stored_image import StoredImage


class Span(Protocol):
    """Consecutive images in one place; small, and pickled to workers."""

    def __len__(self) -> int:
        """Count the images."""
        ...

    def cut(self, start: int, stop: int) -> Span:
        """Return a part of the span."""
        ...

    def images(self) -> Iterator[StoredImage]:
        """Yield the images in order."""
        ...

    def check(self) -> None:
        """Refuse files that differ from those that were listed."""
        ...

    def lines(self) -> Iterator[str]:
        """Describe the images for the digest of all inputs."""
        ...
