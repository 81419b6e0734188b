"""Work done ahead of whoever asks for it: on several threads, in order, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from hrnet_deploy.system.cores import cores

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


def bucketed(
    items: Iterable[_T], size: int, key: Callable[[_T], Hashable | None] = lambda _: True, *, window: int = 1
) -> Generator[list[tuple[int, _T]], None, None]:
    """Groups of items that share a key, drawn from a window over them.

    A runtime that plans anew for every new shape meets fewer of them so, and batches are fuller. An item is handed out
    as soon as a group of its key is full; a change of key waits until the window holds no item of the old one.

    Args:
        items: what to group.
        size: how many items make a full group, at least 1.
        key: what the items of a group share; None for an item that fits any group and takes no place in it.
        window: how many items are held at most, and by how many one may be overtaken; `size` where that is more.

    Yields:
        Groups that are not empty, each item with its position; `in_order` puts them back. Closing the iterator closes
        `items` where that is a generator.

    Raises:
        Exception: whatever `items` raised, after all that came before it.
    """
    window = max(window, size)
    held: list[tuple[int, _T, Hashable | None]] = []
    position = 0
    current: Hashable | None = None
    left = iter(items)
    failure: Exception | None = None
    ended = False
    try:
        while True:
            overdue = bool(held) and position - held[0][0] > window
            while not ended and not overdue and len(held) < window and _count(held, current) < size:
                try:
                    item = next(left)
                except StopIteration:  # noqa: PERF203 - as above
                    ended = True
                except Exception as error:  # noqa: BLE001 - what came before it goes first
                    failure, ended = error, True
                else:
                    held.append((position, item, key(item)))
                    current = held[-1][2] if current is None else current
                    position += 1
                    overdue = position - held[0][0] > window
            if not held:
                break
            keys = [own for _, _, own in held if own is not None]
            if keys and (overdue or current not in keys):
                current = keys[0]
            group, held = _taken(held, current, size)
            yield group
        if failure is not None:
            raise failure
    finally:
        _close(left)


def in_order(placed: Iterable[tuple[int, _T]]) -> Generator[_T, None, None]:
    """Put back in order what overtook each other.

    Args:
        placed: values with their positions, each from 0 on just once.

    Yields:
        The values by position, each as soon as all before it are there.
    """
    waiting: dict[int, _T] = {}
    following = 0
    for position, value in placed:
        waiting[position] = value
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _count(held: list[tuple[int, _T, Hashable | None]], key: Hashable | None) -> int:
    return 0 if key is None else sum(own == key for _, _, own in held)


def _taken(
    held: list[tuple[int, _T, Hashable | None]], key: Hashable | None, size: int
) -> tuple[list[tuple[int, _T]], list[tuple[int, _T, Hashable | None]]]:
    """The next group, with the items without a key that lie between, and what is left."""
    group, rest, taken = [], [], 0
    for position, item, own in held:
        if taken < size and own in {None, key}:
            group.append((position, item))
            taken += own is not None
        else:
            rest.append((position, item, own))
    return group, rest


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
