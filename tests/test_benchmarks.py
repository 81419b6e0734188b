"""The command lines of the benchmarks: what they measure takes too long for a test."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def calibration(monkeypatch):
    """benchmarks/calibration.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("calibration")


def test_layouts_and_methods_choose_rows_of_accuracy(calibration):
    args = calibration.parse_args(["--layouts", "cpu", "tensorrt, residual int8", "--methods", "auto", "mse"])
    assert (args.layouts, args.methods) == (["cpu", "tensorrt, residual int8"], ["auto", "mse"])
    assert tuple(args.only) == calibration.PARTS
    plain = calibration.parse_args([])
    assert (plain.layouts, plain.methods, tuple(plain.nets)) == (None, None, ("street", "photos", "person"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layouts", "gpu"], "argument --layouts: invalid choice: 'gpu'"),
        (["--methods", "gptq"], "argument --methods: invalid choice: 'gptq'"),
        (["--nets", "w18"], "argument --nets: invalid choice: 'w18'"),
        (["--only", "speed", "latency", "--methods", "mse"], "choose rows of accuracy, got --only speed latency"),
    ],
)
def test_what_would_choose_nothing_is_refused(calibration, capsys, words, message):
    with pytest.raises(SystemExit, match=r"^2$"):
        calibration.parse_args(words)
    assert message in capsys.readouterr().err


def test_every_layout_is_a_field_of_int8_options(calibration):
    for fields in calibration.LAYOUTS.values():
        calibration.Int8Wishes(**fields)


@pytest.mark.parametrize("chosen", [{"layouts": ["tensorrt"]}, {"methods": ["mse"]}])
def test_a_choice_of_layouts_or_methods_is_all_that_is_measured(calibration, monkeypatch, capsys, chosen):
    """With either flag the accuracy part runs ours alone, for the whole product of both lists."""
    asked = []

    class Bench:
        def __init__(self, case, folder):
            self.case, self.float32 = case, 50.0

        def ours(self, folder, **wishes):
            asked.append(wishes)
            return {"error": "not measured"}

    monkeypatch.setattr(calibration, "Bench", Bench)
    monkeypatch.setattr(
        calibration, "cases", lambda shared: [calibration.Case("street", None, None, None, None, 1, ())]
    )
    words = [word for flag, values in chosen.items() for word in (f"--{flag}", *values)]
    monkeypatch.setattr("sys.argv", ["calibration.py", "--only", "accuracy", *words])
    assert calibration.main() == 0
    layouts = chosen.get("layouts", list(calibration.LAYOUTS))
    methods = chosen.get("methods", list(calibration.METHODS))
    assert asked == [{"method": m, **calibration.LAYOUTS[one]} for one in layouts for m in methods]
    assert len([line for line in capsys.readouterr().out.splitlines() if "not measured" in line]) == len(asked)
