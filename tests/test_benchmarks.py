"""The command lines of the benchmarks: what they measure takes too long for a test."""

import functools
import importlib.util
import types
from pathlib import Path

import pytest

from hrnet_deploy.export.quantize.plan import Int8Plan

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def calibration(monkeypatch):
    """benchmarks/calibration.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.util.spec_from_file_location("calibration_under_test", BENCHMARKS / "calibration.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_layouts_and_methods_choose_rows_of_accuracy(calibration):
    args = calibration.parse_args(["--layouts", "cpu", "tensorrt, residual int8", "--methods", "auto", "mse"])
    assert (args.layouts, args.methods) == (["cpu", "tensorrt, residual int8"], ["auto", "mse"])
    assert tuple(args.only) == ("accuracy", "robustness", "speed")
    plain = calibration.parse_args([])
    assert (plain.layouts, plain.methods, tuple(plain.models)) == (None, None, ("street", "photos", "person"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layouts", "gpu"], "argument --layouts: invalid choice: 'gpu'"),
        (["--methods", "gptq"], "argument --methods: invalid choice: 'gptq'"),
        (["--models", "w18"], "argument --models: invalid choice: 'w18'"),
        (["--only", "speed", "robustness", "--methods", "mse"], "choose rows of accuracy, got --only speed robustness"),
    ],
)
def test_what_would_choose_nothing_is_refused(calibration, capsys, words, message):
    with pytest.raises(SystemExit, match=r"^2$"):
        calibration.parse_args(words)
    assert message in capsys.readouterr().err


def test_every_layout_is_a_field_of_the_int8_plan(calibration):
    for fields in calibration.LAYOUTS.values():
        Int8Plan(**fields)


@pytest.mark.parametrize("chosen", [{"layouts": ["tensorrt"]}, {"methods": ["mse"]}])
def test_a_choice_of_layouts_or_methods_is_all_that_is_measured(calibration, monkeypatch, capsys, chosen):
    """With either flag the accuracy part runs ours alone, for the whole product of both lists."""
    measured = []

    def quantize(judge, folder, **options):
        measured.append(options)
        return {"error": "not measured"}

    monkeypatch.setattr(calibration, "make_case", lambda name, shared: types.SimpleNamespace(name=name, judged=()))
    monkeypatch.setattr(calibration, "Judge", lambda case, folder: types.SimpleNamespace(case=case, float32=50.0))
    monkeypatch.setattr("accuracy.quantizers.quantize_ours", quantize)
    words = [word for flag, values in chosen.items() for word in (f"--{flag}", *values)]
    monkeypatch.setattr("sys.argv", ["calibration.py", "--only", "accuracy", "--models", "street", *words])
    assert calibration.main() == 0
    layouts = chosen.get("layouts", list(calibration.LAYOUTS))
    methods = chosen.get("methods", list(calibration.METHODS))
    assert measured == [{"method": m, **calibration.LAYOUTS[one]} for one in layouts for m in methods]
    assert len([line for line in capsys.readouterr().out.splitlines() if "not measured" in line]) == len(measured)


@pytest.fixture
def scripts(monkeypatch):
    """The folder of the benchmarks on the path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
def test_contenders_have_one_figure_a_round_and_ratios_pair_them():
    from comparison.interleave import ratio, time_rounds

    now, called = 0.0, []

    def spend(name, seconds):
        nonlocal now
        now += seconds
        called.append(name)

    calls = {name: functools.partial(spend, name, seconds) for name, seconds in (("slow", 0.5), ("fast", 0.05))}
    options = {"clock": lambda: now, "sleep": lambda _: called.append("rest")}
    times = time_rounds(calls, seconds=20.0, **options)
    rounds = len(times["slow"])
    assert rounds == 37  # 20 s, two calls of 0.5 s and 0.05 s
    assert times == {"slow": pytest.approx([0.5] * rounds), "fast": pytest.approx([0.05] * rounds)}
    # Each turn is one call after a rest, and the order is reversed each round.
    turns = called[called.index("rest") :]
    assert turns[:8] == ["rest", "slow", "rest", "fast", "rest", "fast", "rest", "slow"]
    assert ratio(times["slow"], times["fast"]) == pytest.approx(10)
    assert times.keys() == calls.keys()
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 2.0]) == 2.0
    assert len(time_rounds({"alone": calls["slow"]}, seconds=0.0, **options)["alone"]) == 5
    assert time_rounds({}, seconds=0.0) == {}


@pytest.mark.usefixtures("scripts")
def test_a_script_returns_its_json_its_memory_and_its_last_error():
    from comparison.interleave import run_script

    done = run_script(
        "import json, sys; x = b'x' * (64 << 20); print('no JSON'); print(json.dumps({'a': sys.argv[1]}))", "b"
    )
    assert done.values == {"a": "b"}
    assert 64 < done.peak_mib < 1024
    assert done.row() == {"a": "b", "seconds": done.seconds, "peak_gib": done.peak_mib / 1024}
    with pytest.raises(RuntimeError, match="process must end well, got status 1: ValueError: no"):
        run_script("raise ValueError('no')")


@pytest.mark.usefixtures("scripts")
def test_the_report_in_the_repository_is_that_of_its_records():
    from compare import SUITES
    from comparison.config import MODELS
    from comparison.report import ResultsStore, markdown

    store = ResultsStore(BENCHMARKS / "results" / "compare.json", "")
    text = markdown(store, SUITES, tuple(MODELS), quick=False)
    written = (BENCHMARKS / "results" / "compare.md").read_text(encoding="utf-8")
    here = "this machine's"  # its memory is a goal's bound
    found, wanted = ([line for line in lines.splitlines() if here not in line] for lines in (text, written))
    assert found == wanted
