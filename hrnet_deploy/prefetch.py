"""Work done ahead of whoever asks for it: on several threads, in order, within bounds."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

_MOST_READERS = 8


def ordered(pool: Executor, work: Callable[[_T], _R], items: Iterable[_T], *, most: int) -> Generator[_R, None, None]:
    """Map, a bounded number of items ahead of the consumer.

    Items are taken in the consumer's thread, work runs on the pool's.

    Args:
        pool: of threads; the caller shuts it down.
        work: what to do with each item.
        items: what to do it with.
        most: how many items may be underway or done and not yet asked for, at least 1.

    Yields:
        Results in the order of the items. Closing the iterator cancels what has not begun, and closes `items` where
        that is a generator.

    Raises:
        Exception: whatever `work` or `items` raised, after the results of all items before it.
    """
    left = iter(items)
    ahead: deque[Future[_R]] = deque()
    failure: Exception | None = None
    ended = False
    try:
        while True:
            while not ended and len(ahead) < most:
                try:
                    item = next(left)
                except StopIteration:  # noqa: PERF203 - as below
                    ended = True
                except Exception as error:  # noqa: BLE001 - kept for its place in the order
                    failure, ended = error, True
                else:
                    ahead.append(pool.submit(work, item))
            if not ahead:
                break
            yield ahead.popleft().result()
        if failure is not None:
            raise failure
    finally:
        for future in ahead:
            future.cancel()
        _close(left)


def grouped(
    items: Iterable[_T], size: int, key: Callable[[_T], Hashable | None] = lambda _: True
) -> Generator[list[_T], None, None]:
    """Neighbours in groups.

    Args:
        items: what to group.
        size: how many items make a full group, at least 1.
        key: what the items of a group share; None for an item that fits any group and takes no place in it.

    Yields:
        Groups that are not empty, in order. Closing the iterator closes `items` where that is a generator.

    Raises:
        Exception: whatever `items` raised, after all that came before it.
    """
    group: list[_T] = []
    taken = 0
    shared: Hashable | None = None
    left = iter(items)
    failure: Exception | None = None
    try:
        while True:
            try:
                item = next(left)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - what came before it goes first
                failure = error
                break
            own = key(item)
            if taken and own is not None and own != shared:
                yield group
                group, taken = [], 0
            group.append(item)
            if own is not None:
                shared, taken = own, taken + 1
            if taken == size:
                yield group
                group, taken = [], 0
        if group:
            yield group
        if failure is not None:
            raise failure
    finally:
        _close(left)


def cores() -> int:
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def readers(threads: int | None = None) -> int:
    """How many threads should decode pictures beside an engine.

    Args:
        threads: of the engine; None for all cores.

    Returns:
        Half of them, 1 to 8: the net needs more time than its pictures, and threads beyond the cores slow both.
    """
    return max(1, min(_MOST_READERS, (threads or cores()) // 2))


def _close(iterator: Iterator[Any]) -> None:
    if isinstance(iterator, Generator):
        iterator.close()
