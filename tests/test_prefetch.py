"""Order, bounds, errors and the end of the threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hrnet_deploy.prefetch import cores, grouped, ordered, readers


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


@pytest.mark.parametrize(
    ("items", "size", "groups"),
    [
        ("", 3, []),
        ("aaaa", 2, ["aa", "aa"]),
        ("aaaaa", 2, ["aa", "aa", "a"]),
        ("aabba", 4, ["aa", "bb", "a"]),
        ("a-a-a", 2, ["a-a", "-a"]),
        ("--", 2, ["--"]),
        ("a-b", 5, ["a-", "b"]),
    ],
)
def test_neighbours_that_share_a_key_are_grouped(items, size, groups):
    found = grouped(items, size, key=lambda item: None if item == "-" else item)
    assert ["".join(group) for group in found] == groups


def test_what_came_before_an_error_is_grouped():
    groups = grouped(until_the_fifth(), 3)
    assert [next(groups), next(groups)] == [[0, 1, 2], [3, 4]]
    with pytest.raises(ValueError, match="the fifth"):
        next(groups)


@pytest.mark.parametrize(("threads", "count"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 8)])
def test_readers_follow_the_engines_threads(threads, count):
    assert readers(threads) == count
    assert 1 <= readers() <= max(1, cores() // 2)
