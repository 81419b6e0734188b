"""Nets take turns, so that what slows a machine down slows all of them."""

import numpy as np
import pytest

from hrnet_deploy.evaluation.network import Network
from hrnet_deploy.report.latency import FEWEST_ROUNDS, WARM_UP, measure_latency
from hrnet_deploy.report.machine import look
from hrnet_deploy.spec import Task


@pytest.fixture
def watched(pixel_net):
    """Two nets that note who ran, and on which grey level."""
    calls = []

    class Watched(pixel_net):
        def infer(self, feed):
            (pixels,) = feed.values()
            calls.append((self, len(pixels), int(pixels.flat[0])))
            return super().infer(feed)

    return [Watched(Task.CLASSIFICATION) for _ in range(2)], calls


def test_nets_take_turns_and_every_other_round_goes_backwards(watched):
    nets, calls = watched
    images = [np.full((4, 4, 3), level, np.uint8) for level in range(3)]
    found = measure_latency([Network(net) for net in nets], images, budget_s=0)
    counted = calls[2 * WARM_UP :]
    assert [nets.index(net) for net, _, _ in counted[:8]] == [0, 1, 1, 0, 0, 1, 1, 0]
    assert {count for _, count, _ in counted} == {1}
    assert [level for net, _, level in counted if net is nets[0]] == [0, 1, 2, 0, 1]
    assert [latency.runs for latency in found] == [FEWEST_ROUNDS] * 2


def test_this_machine_is_described():
    facts = look(gpu=False)
    assert facts.cores >= 1
    assert facts.cpu
    assert facts.gpu == ""
    assert "numpy" in facts.packages
    assert facts.to_dict()["packages"] == dict(facts.packages)
