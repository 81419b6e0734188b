"""Chunks of images, each of which becomes one part of the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hrnet_deploy.batch_prediction.span import Span


@dataclass(frozen=True)
class Chunk:
    """Consecutive images that become one part; `first` is the index of the first image in the run."""

    number: int
    first: int
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return sum(map(len, self.spans))


def make_chunks(spans: Iterable[Span], size: int) -> Iterator[Chunk]:
    """Cut the images into chunks of `size`, the last of which may be smaller."""
    number, count = 0, 0
    collected: list[Span] = []
    for span in spans:
        start = 0
        while start < len(span):
            taken = min(size - count, len(span) - start)
            collected.append(span.cut(start, start + taken))
            start, count = start + taken, count + taken
            if count == size:
                yield Chunk(number, number * size, tuple(collected))
                number, count, collected = number + 1, 0, []
    if collected:
        yield Chunk(number, number * size, tuple(collected))
