import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.engines.tensorrt.cuda_graphs import GraphCache, Recorded


def recorded(cuda):
    graph = next(cuda.handles)
    cuda.graphs[graph] = []
    return Recorded(graph, object(), ((1,),))


@pytest.fixture
def cache(cuda):
    cache = GraphCache(cuda, 2)
    yield cache
    cache.close()
    assert not cuda.graphs


def test_a_shape_is_recorded_when_it_comes_back(cache):
    assert [cache.should_record("a"), cache.should_record("a"), cache.should_record("b")] == [False, True, False]


def test_the_graph_used_longest_ago_makes_room(cache, cuda):
    graphs = {key: recorded(cuda) for key in "abc"}
    cache.add("a", graphs["a"])
    cache.add("b", graphs["b"])
    assert cache.find("a") is graphs["a"]
    cache.add("c", graphs["c"])
    assert (cache.find("b"), len(cache)) == (None, 2)
    assert graphs["b"].graph not in cuda.graphs


def test_a_full_cache_is_not_turned_over_by_shapes_that_come_now_and_then(cache, cuda):
    cache.add("a", recorded(cuda))
    cache.add("b", recorded(cuda))
    assert [cache.should_record("c") for _ in range(16)] == [False] * 15 + [True]
    cache.add("c", recorded(cuda))
    assert not cache.should_record("c")  # counted anew


def test_without_room_nothing_is_ever_wanted(cuda):
    assert not any(GraphCache(cuda, 0).should_record("a") for _ in range(50))


def test_closing_gives_every_graph_back_once_even_if_one_fails(cuda):
    cache = GraphCache(cuda, 4)
    for key in "abc":
        cache.add(key, recorded(cuda))
    first = cuda.destroy_graph
    tried = []

    def failing(graph):
        tried.append(graph)
        if len(tried) == 1:
            raise cuda_error()
        first(graph)

    cuda.destroy_graph = failing
    cache.close()
    cache.close()
    assert (len(tried), len(cuda.graphs), len(cache)) == (3, 1, 0)
    assert not any(cache.should_record("a") for _ in range(5))


def cuda_error():
    from hrnet_deploy.engines.cuda.errors import call_failure

    return call_failure("cudaGraphExecDestroy", "cudaErrorUnknown")


@given(keys=st.lists(st.integers(0, 9), max_size=200), capacity=st.integers(0, 5))
def test_any_sequence_keeps_few_graphs_and_finds_only_its_own(keys, capacity):
    class Cuda:
        def __init__(self):
            self.live = set()

        def destroy_graph(self, graph):
            self.live.remove(graph)

    cuda = Cuda()
    cache = GraphCache(cuda, capacity)
    for number, key in enumerate(keys):
        found = cache.find(key)
        assert found is None or found.context == key
        if found is None and cache.should_record(key):
            cuda.live.add(number)
            cache.add(key, Recorded(number, key, ()))
        assert len(cuda.live) == len(cache) <= capacity
    cache.close()
    assert not cuda.live
