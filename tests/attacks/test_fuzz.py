"""Hostile inputs of each family, and proof that every detector fires. `make fuzz` runs more."""

import sys

import pytest
from attacks.case import Case
from attacks.families import FAMILIES, make
from attacks.fuzz import check_controls, fuzz, workplace

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, forks and pidfd")]
SEED, INPUTS = 1, 150
EXPENSIVE = {"runs": 50, "caches": 60, "networks": 60, "videos": 80}
"""Fewer inputs of families that take more than 0.1 s each; all others take about 0.05 s."""


@pytest.fixture(scope="module")
def place():
    with workplace() as root:
        yield root


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hostile_input_is_predicted_or_refused_in_one_line(place, family):
    outcomes = fuzz(family, SEED, range(EXPENSIVE.get(family, INPUTS)), place)
    found = [f"{number}: {outcome.findings}" for number, outcome, _ in outcomes if outcome.findings]
    assert not found, "\n".join(found)


def test_every_detector_fires(place):
    silent = [f"{name} ({kind})" for name, kind, fired in check_controls(place) if not fired]
    assert not silent


def test_equal_seeds_give_equal_inputs():
    for family in FAMILIES:
        assert make(family, 3, 5) == make(family, 3, 5)


def test_a_kept_input_is_read_back(tmp_path):
    case = make("names", 3, 5)
    case.keep(tmp_path / "kept", {"crashes": "x"})
    assert Case.kept(tmp_path / "kept") == case
