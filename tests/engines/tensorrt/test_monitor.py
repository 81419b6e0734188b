"""Progress of nested phases as one bar, and cancelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.engines.tensorrt import monitor as room
from hrnet_deploy.engines.tensorrt.monitor import BuildMonitor, bind


class Bar:
    def __init__(self, **options):
        self.options, self.n, self.closed, self.disable = options, 0, False, False

    def update(self, n):
        self.n += n

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    made = []
    monkeypatch.setattr(room, "bar", lambda **options: made.append(Bar(**options)) or made[-1])
    return made


def test_nested_phases_are_fractions_of_their_parent(bars):
    with BuildMonitor("building w18") as monitor:
        monitor.phase_start("root", None, 4)
        monitor.step_complete("root", 0)
        assert monitor._shown == 250
        monitor.phase_start("child", "root", 2)
        monitor.step_complete("child", 0)
        assert monitor._shown == 375
        monitor.phase_start("grandchild", "child", 5)
        monitor.step_complete("grandchild", 4)
        monitor.phase_finish("grandchild")
        monitor.step_complete("child", 1)
        monitor.phase_finish("child")
        assert monitor._shown == 500
        monitor.phase_finish("root")
        assert bars[0].n == 1000
    assert bars[0].closed
    assert bars[0].options["desc"] == "building w18"
    assert "{remaining}" in bars[0].options["bar_format"]


calls = st.lists(
    st.tuples(
        st.sampled_from(["start", "step", "finish"]),
        st.sampled_from("abc"),
        st.sampled_from([None, "", "a", "b", "c"]),
        st.integers(-1, 9),
    ),
    max_size=60,
)


@given(calls)
def test_any_order_of_calls_gives_a_fraction_that_never_falls(sequence):
    monitor = BuildMonitor("x", shown=False)
    last = 0
    for call, phase, parent, number in sequence:
        if call == "start":
            monitor.phase_start(phase, parent, number)
        elif call == "step":
            assert monitor.step_complete(phase, number)
        else:
            monitor.phase_finish(phase)
        assert last <= monitor._shown <= 1000
        last = monitor._shown


def test_cancelling_ends_the_build_at_its_next_step():
    with BuildMonitor("x", shown=False) as monitor:
        monitor.phase_start("root", None, 2)
        assert monitor.step_complete("root", 0)
        monitor.cancel()
        assert monitor.cancelled
        assert not monitor.step_complete("root", 1)


def test_a_bar_that_fails_does_not_cost_the_build(bars):
    with BuildMonitor("x") as monitor:
        bars[0].update = lambda n: (_ for _ in ()).throw(BrokenPipeError)
        monitor.phase_start("root", None, 1)
        assert monitor.step_complete("root", 0)
        assert bars[0].disable


def test_a_build_left_behind_may_go_on_reporting(bars):
    with BuildMonitor("x") as monitor:
        monitor.phase_start("root", None, 2)
    monitor.step_complete("root", 0)
    assert bars[0].n == 0


def test_no_bar_where_nothing_is_reported(bars):
    with BuildMonitor("x", shown=False):
        pass
    assert bars == []


def test_no_bar_where_nobody_watches(capsys):
    with BuildMonitor("x") as monitor:
        monitor.phase_start("root", None, 1)
        monitor.step_complete("root", 0)
    assert capsys.readouterr().err == ""


def test_tensorrt_gets_an_instance_of_its_own_class(fake):
    api = fake()
    monitor = BuildMonitor("x", shown=False)
    bound = bind(api, monitor)
    assert isinstance(bound, api.module.IProgressMonitor)
    bound.phase_start("root", None, 4)
    assert bound.step_complete("root", 1) is True
    bound.phase_finish("root")
    assert monitor._shown == 1000
