"""Order, bounds, errors and the end of the threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.processing.prefetch import bucketed, in_order, ordered, readers
from hrnet_deploy.system.cores import cores


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4, thread_name_prefix="prefetch-test") as executor:
        yield executor


def until_the_fifth(count=20):
    for index in range(count):
        if index == 5:
            raise ValueError("the fifth")
        yield index


@pytest.mark.parametrize("most", [1, 3, 50])
def test_results_keep_their_order_whatever_each_takes(pool, most):
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number

    assert list(ordered(pool, work, range(30), most=most)) == list(range(30))


@pytest.mark.parametrize("most", [1, 4])
def test_items_are_taken_a_bounded_number_ahead_and_in_the_callers_thread(pool, most):
    taken, threads = [], set()

    def items():
        for index in range(40):
            taken.append(index)
            threads.add(threading.current_thread())
            yield index

    for count, _ in enumerate(ordered(pool, str, items(), most=most)):
        assert len(taken) - count <= most
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("most", [1, 4, 50])
def test_errors_come_in_their_place(pool, most):
    seen = []
    with pytest.raises(ValueError, match="the fifth"):
        seen.extend(ordered(pool, str, until_the_fifth(), most=most))
    assert seen == list("01234")
    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(ordered(pool, lambda number: 1 / (7 - number), range(20), most=most))
    assert len(seen) == 7


def test_closing_cancels_what_has_not_begun_and_closes_the_items():
    began, closed, gate = [], [], threading.Event()

    def items():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    def work(number):
        began.append(number)
        if number:
            gate.wait(10)
        return number

    with ThreadPoolExecutor(1) as one:
        results = ordered(one, work, items(), most=6)
        assert next(results) == 0
        results.close()
        gate.set()
    assert closed == [True]
    assert len(began) <= 2


def key_of(item):
    return None if item == "-" else item


@pytest.mark.parametrize(
    ("items", "size", "window", "groups"),
    [
        ("", 3, 1, []),
        ("aaaa", 2, 1, ["aa", "aa"]),
        ("aaaaa", 2, 9, ["aa", "aa", "a"]),
        ("aabba", 4, 4, ["aa", "a", "bb"]),
        ("aabba", 4, 5, ["aaa", "bb"]),
        ("a-a-a", 2, 3, ["a-a", "-a"]),
        ("--", 2, 1, ["--"]),
        ("a-b", 5, 1, ["a-", "b"]),
        # One at a time without a window: as they come.
        ("abab", 1, 1, ["a", "b", "a", "b"]),
        # With one, those of a size run together.
        ("ababab", 1, 6, ["a", "a", "a", "b", "b", "b"]),
        ("abababab", 2, 6, ["aa", "aa", "bb", "bb"]),
        ("abcabc", 1, 3, ["a", "a", "b", "b", "c", "c"]),
        ("-a-b-a", 1, 6, ["-a", "--a", "b"]),
    ],
)
def test_items_that_share_a_key_are_grouped_within_a_window(items, size, window, groups):
    found = list(bucketed(items, size, key=key_of, window=window))
    assert ["".join(item for _, item in group) for group in found] == groups
    assert sorted(place for group in found for place, _ in group) == list(range(len(items)))


@given(st.text("abc-", max_size=60), st.integers(1, 5), st.integers(1, 12))
def test_nothing_is_lost_overtaken_too_far_or_held_beyond_the_window(items, size, window):
    limit, pulled = max(size, window), []

    def spied():
        for place, item in enumerate(items):
            pulled.append(place)
            yield item

    given_out = []
    for group in bucketed(spied(), size, key=key_of, window=window):
        assert 1 <= len(group) <= limit
        assert sum(item != "-" for _, item in group) <= size
        assert len({item for _, item in group} - {"-"}) <= 1
        assert len(pulled) - len(given_out) <= limit
        given_out += [place for place, _ in group]
        # What is still held was overtaken by no more than the window and the groups under way.
        assert all(len(pulled) - place <= 2 * limit + 1 for place in set(pulled) - set(given_out))
    assert sorted(given_out) == list(range(len(items)))
    assert "".join(in_order((place, items[place]) for place in given_out)) == items


def test_one_size_alone_waits_for_nothing():
    pulled = []
    groups = bucketed((pulled.append(index) or index for index in range(99)), 2, window=50)
    for count in range(1, 5):
        next(groups)
        assert len(pulled) == 2 * count
    groups.close()


def test_an_odd_one_is_not_overtaken_for_ever():
    items = ["b" if index == 1 else "a" for index in range(100)]
    found = [place for group in bucketed(items, 1, key=key_of, window=5) for place, _ in group]
    assert found.index(1) <= 6


def test_what_came_before_an_error_is_grouped():
    groups = bucketed(until_the_fifth(), 3)
    assert [next(groups), next(groups)] == [[(0, 0), (1, 1), (2, 2)], [(3, 3), (4, 4)]]
    with pytest.raises(ValueError, match="the fifth"):
        next(groups)


def test_order_is_restored_as_soon_as_it_can_be():
    taken = []
    placed = ((place, taken.append(place) or place) for place in (1, 0, 3, 4, 2))
    restored = in_order(placed)
    assert [next(restored), next(restored)] == [0, 1]
    assert taken == [1, 0]
    assert list(restored) == [2, 3, 4]


@pytest.mark.parametrize(("threads", "count"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 8)])
def test_readers_follow_the_engines_threads(threads, count):
    assert readers(threads) == count
    assert 1 <= readers() <= max(1, cores() // 2)
