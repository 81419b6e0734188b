"""A few hundred hostile inputs of each family, and proof that every detector fires. `make fuzz` runs more."""

import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, forks and pidfd")]
SEED, INPUTS = 1, 60


@pytest.fixture(scope="module")
def place():
    from attacks.fuzz import workplace

    with workplace() as root:
        yield root


def _families():
    from attacks.families import FAMILIES

    return list(FAMILIES)


@pytest.mark.parametrize("family", _families())
def test_a_hostile_input_is_predicted_or_refused_in_one_line(place, family):
    from attacks.fuzz import fuzz

    found = [
        f"{number}: {outcome.findings}"
        for number, outcome, _ in fuzz(family, SEED, range(INPUTS), place)
        if outcome.findings
    ]
    assert not found, "\n".join(found)


def test_every_detector_fires(place):
    from attacks.fuzz import check_controls

    silent = [f"{name} ({kind})" for name, kind, fired in check_controls(place) if not fired]
    assert not silent


def test_equal_seeds_give_equal_inputs():
    from attacks.families import FAMILIES, make

    for family in FAMILIES:
        assert make(family, 3, 5) == make(family, 3, 5)


def test_a_kept_input_is_read_back(tmp_path):
    from attacks.case import Case
    from attacks.families import make

    case = make("names", 3, 5)
    case.keep(tmp_path / "kept", {"crashes": "x"})
    assert Case.kept(tmp_path / "kept") == case
