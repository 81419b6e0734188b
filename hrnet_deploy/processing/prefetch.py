"""Work ahead of its consumer: on several threads, in order, within limits of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

from hrnet_deploy.system.cores import cores

_T = TypeVar("_T")
_R = TypeVar("_R")

_MAX_READERS = 8


class _Feed(Generic[_T]):
    """Takes items of an iterator one by one; an error of the iterator waits for the items before it."""

    def __init__(self, items: Iterable[_T]) -> None:
        self.ended = False
        self._items = iter(items)
        self._error: Exception | None = None

    def take(self) -> list[_T]:
        """Return one item, or none at the end."""
        try:
            return [next(self._items)]
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - raised by `raise_error`
            self._error = error
        self.ended = True
        return []

    def raise_error(self) -> None:
        """Raise the error that ended the iterator, if any."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close a generator."""
        if isinstance(self._items, Generator):
            self._items.close()


def ordered(pool: Executor, work: Callable[[_T], _R], items: Iterable[_T], *, most: int) -> Generator[_R, None, None]:
    """Map items in order, at most `most` items ahead of the consumer.

    Items are taken in the consumer's thread and work runs in the pool. An error of either comes after the results of
    all items before it. Closing the iterator cancels work that has not begun, and closes `items` if it is a generator.
    """
    feed = _Feed(items)
    ahead: deque[Future[_R]] = deque()
    try:
        while True:
            while not feed.ended and len(ahead) < most:
                ahead.extend(pool.submit(work, item) for item in feed.take())
            if not ahead:
                break
            yield ahead.popleft().result()
        feed.raise_error()
    finally:
        for future in ahead:
            future.cancel()
        feed.close()


def bucketed(
    items: Iterable[_T], size: int, key: Callable[[_T], Hashable | None] = lambda _: True, *, window: int = 1
) -> Generator[list[tuple[int, _T]], None, None]:
    """Group items that share a key, within a window.

    A runtime that plans again for every new shape meets fewer of them, and batches are fuller. A full group is yielded
    at once; the key changes when the window holds no more items of the old one. Errors and closing: as in `ordered`.

    Args:
        items: items to group.
        size: items of a full group, at least 1.
        key: key of an item; None for an item that fits any group and takes no place in it.
        window: largest number of items held, and by which one item may be overtaken; at least `size`.

    Yields:
        Groups that are not empty, each item with its position, for `in_order`.
    """
    window = max(window, size)
    held: list[tuple[int, _T, Hashable | None]] = []
    position = 0
    current: Hashable | None = None
    feed = _Feed(items)

    def overdue() -> bool:
        return bool(held) and position - held[0][0] > window

    try:
        while True:
            while not feed.ended and not overdue() and len(held) < window and _count(held, current) < size:
                for item in feed.take():
                    held.append((position, item, key(item)))
                    current = held[-1][2] if current is None else current
                    position += 1
            if not held:
                break
            keys = [own for _, _, own in held if own is not None]
            if keys and (overdue() or current not in keys):
                current = keys[0]
            group, held = _take_group(held, current, size)
            yield group
        feed.raise_error()
    finally:
        feed.close()


def in_order(placed: Iterable[tuple[int, _T]]) -> Generator[_T, None, None]:
    """Yield values by their positions, 0 and up, each as soon as all values before it are there."""
    waiting: dict[int, _T] = {}
    following = 0
    for position, value in placed:
        waiting[position] = value
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _count(held: list[tuple[int, _T, Hashable | None]], key: Hashable | None) -> int:
    return 0 if key is None else sum(own == key for _, _, own in held)


def _take_group(
    held: list[tuple[int, _T, Hashable | None]], key: Hashable | None, size: int
) -> tuple[list[tuple[int, _T]], list[tuple[int, _T, Hashable | None]]]:
    """Split off the next group, with the items without a key between, from the rest."""
    group, rest, taken = [], [], 0
    for position, item, own in held:
        if taken < size and own in {None, key}:
            group.append((position, item))
            taken += own is not None
        else:
            rest.append((position, item, own))
    return group, rest


def readers(threads: int | None = None) -> int:
    """Choose the number of threads that decode images: half of the engine's threads (None: all cores), 1 to 8."""
    return max(1, min(_MAX_READERS, (threads or cores()) // 2))
