"""The scripts for whoever has a GPU: they start, end and report, as far as a machine without one can tell."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def suite(monkeypatch):
    """benchmarks/gpu_suite.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.util.spec_from_file_location("gpu_suite_under_test", BENCHMARKS / "gpu_suite.py")
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "gpu_suite_under_test", module)
    found.loader.exec_module(module)
    return module


def script(name, *arguments, **options):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_the_suite_names_every_file_with_gpu_tests(suite):
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^(@|pytestmark = )pytest\.mark\.gpu\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert marked == set(suite.TEST_FILES)


def test_every_step_has_a_limit_and_a_broken_file_does_not_end_the_tests(suite):
    steps = suite.steps()
    assert list(steps) == ["probe", "tests", "latency"]
    assert all(60 <= step.timeout_s <= 3600 for step in steps.values())
    assert "--continue-on-collection-errors" in steps["tests"].command
    assert all((ROOT / path).is_file() for path in suite.TEST_FILES)


@pytest.mark.slow
def test_a_step_that_hangs_has_failed_and_keeps_what_it_said(suite):
    command = [sys.executable, "-c", "import time; print('half', flush=True); time.sleep(60)"]
    outcome = suite.run("probe", suite.Step(command, 3))
    assert (outcome.passed, outcome.summary, outcome.output.strip()) == (False, "ended after 3 s", "half")


@pytest.mark.parametrize(
    ("summary", "passed"),
    [("3 passed, 1 skipped in 2s", True), ("5 skipped in 1s", False), ("no tests ran in 0.1s", False)],
)
def test_tests_of_which_none_passed_have_not_passed(suite, summary, passed):
    outcome = suite.run("tests", suite.Step([sys.executable, "-c", f"print({summary!r})"], 30))
    assert outcome.passed is passed


@pytest.mark.slow
def test_where_a_gpu_is_seen_a_gpu_test_that_is_skipped_has_failed(tmp_path):
    """The hook of tests/conftest.py, on tests of its own."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.gpu\ndef test_a(): pytest.skip('needs an NVIDIA GPU')\n"
        "@pytest.mark.gpu\n@pytest.mark.skipif(True, reason='no CUDA build')\ndef test_b(): pass\n"
        "@pytest.mark.gpu\ndef test_c(): pytest.skip('the table refuses this card: sm90')\n"
        "@pytest.mark.gpu\ndef test_d(): pytest.skip('not installed: TensorRT')\n"
        "def test_e(): pytest.skip('no GPU test')\n"
        "@pytest.mark.gpu\ndef test_f(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(tmp_path), str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "HRNET_DEPLOY_GPU_SUITE"}
    calm = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    strict = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"HRNET_DEPLOY_GPU_SUITE": "1"},
    )
    assert "1 passed, 5 skipped" in calm.stdout
    assert re.search(r"1 failed, 1 passed, 3 skipped.*1 error", strict.stdout), strict.stdout
    assert "There is a GPU here, and this test did not reach it: Skipped: needs an NVIDIA GPU" in strict.stdout


@pytest.mark.slow
def test_the_probe_dry_runs_and_every_finding_is_a_line(tmp_path):
    done = script("gpu_probe.py", "--dry-run", "--out", str(tmp_path / "probe.jsonl"))
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [json.loads(line) for line in (tmp_path / "probe.jsonl").read_text().splitlines()]
    sections = list(dict.fromkeys(line["section"] for line in found))
    assert sections[:3] == ["machine", "opens and agrees", "tensor cores"]
    assert len(sections) == 12
    assert not any("failed" in line for line in found)
    assert sum(line.get("holds") is True for line in found) >= 3
    tuned = {line["tuning"] for line in found if line["section"] == "tuning"}
    assert {"defaults", "fuse_conv_bias off", "pinned copies off"} <= tuned


@pytest.mark.slow
def test_the_latencies_dry_run_and_end_in_one_table(tmp_path):
    done = script("gpu_latency.py", "--dry-run", "--out", str(tmp_path / "table.md"))
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("A dry run on the CPU: these figures mean nothing.")
    assert "| model |  | 1 fp32 | 1 fp16 | 1 int8 |" in text
    for name in ("hrnet-deploy .onnx", "plain ONNX Runtime", "torch eager"):
        row = next(line for line in text.splitlines() if f"| {name} |" in line)
        assert re.fullmatch(r"\d+\.\d\d", row.split("|")[3].strip()), row
    # On a CPU torch.compile needs a C++ compiler, which its own words ask for.
    compiled = next(line for line in text.splitlines() if "| torch.compile |" in line)
    assert re.search(r"torch\.compile \| \d+\.\d\d \|", compiled) or re.search(r"torch\.compile, fp32: .*ompiler", text)
    assert "- torch.compile, fp16: a dry run compiles once, in FP32" in text
    assert "- hrnet-deploy .engine, fp32: TensorRT runs on a GPU only" in text
    assert "torch eager, int8: PyTorch has no INT8 convolutions on a GPU" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpu_probe.py", "gpu_suite.py"])
def test_without_a_gpu_they_say_so(name, tmp_path):
    done = script(name, env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert "needs an NVIDIA GPU, got none that nvidia-smi knows" in done.stderr


def test_a_dry_run_of_the_suite_never_lies_among_results():
    done = script("gpu_suite.py", "--dry-run")
    assert done.returncode == 2
    assert "--dry-run needs --out" in done.stderr
