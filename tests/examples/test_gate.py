"""examples/github_gate/workflow.yml: GitHub's own schema, and its commands on real files; the gate is met or missed."""

import shutil
import subprocess

import pytest
import yaml
from helpers.docs_world import DATA, make_inputs, run
from helpers.example_program import EXAMPLES
from helpers.peer_environment import peer_python

from hrnet_deploy import Predictor

pytestmark = pytest.mark.slow

WORKFLOW = EXAMPLES / "github_gate" / "workflow.yml"
CHECKER = "check-jsonschema==0.39.0"
SUMMARY = "GITHUB_STEP_SUMMARY"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The folder of weights and images; its labels are the FP32 model's."""
    if not DATA.is_dir():
        pytest.skip("the images of ../shared/data are not here")
    folder = tmp_path_factory.mktemp("gate") / "work"
    folder.mkdir()
    make_inputs(folder)
    (folder / "val").rename(folder / "unlabeled")
    assert run("hrnet-export --weights w18.pth -o w18.onnx", folder).returncode == 0
    with Predictor(folder / "w18.onnx", device="cpu") as predictor:
        for name in predictor.card.classes:
            (folder / "val" / name).mkdir(parents=True)
        for number, result in enumerate(predictor.stream(str(folder / "unlabeled" / "*" / "000*.jpg"))):
            shutil.copy(result.path, folder / "val" / result.label / f"{number}.jpg")
    (folder / "w18.onnx").unlink()
    return folder


def run_steps(monkeypatch, folder, max_drop):
    """Run the steps but the installation, as GitHub does; return the exit codes by step, and the summary."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (job,) = workflow["jobs"].values()
    assert job["defaults"]["run"]["shell"] == "bash"
    summary = folder / "summary.md"
    summary.unlink(missing_ok=True)
    for name, value in {**workflow["env"], "MAX_DROP": max_drop, SUMMARY: str(summary)}.items():
        monkeypatch.setenv(name, value)
    codes = {}
    for step in job["steps"]:
        if "run" not in step or step["name"] == "Install":
            continue
        if any(codes.values()) is ("failure()" in step.get("if", "")):
            codes[step["name"]] = run(step["run"], folder).returncode
    return codes, summary.read_text()


def test_the_workflow_has_githubs_schema(tmp_path):
    checker = peer_python("check-jsonschema", CHECKER).with_name("check-jsonschema")
    words = [checker, "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*words, WORKFLOW], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "workflow.yml"
    wrong.write_text(WORKFLOW.read_text().replace("runs-on:", "run-on:"))
    assert subprocess.run([*words, wrong], capture_output=True, check=False).returncode == 1


def test_a_met_gate_ends_with_a_report_in_the_summary(inputs, monkeypatch):
    codes, summary = run_steps(monkeypatch, inputs, "30")
    assert codes == {"Export the reference": 0, "Gate": 0, "Report": 0}
    assert "top-1" in summary
    assert "w18_int8" in summary
    assert len(summary) < 1 << 20  # GitHub shows no more
    for name in ("report/report.html", "export.json", "gate.txt", "w18_int8.onnx"):
        assert (inputs / name).stat().st_size, name


def test_a_failed_gate_fails_the_job_and_the_summary_says_why(inputs, monkeypatch):
    """A missed gate exits with 3 (tests/test_docs.py, docs/guides/gates.md); an impossible limit fails without work."""
    for name in ("w18_int8.onnx", "export.json"):
        (inputs / name).unlink(missing_ok=True)
    codes, summary = run_steps(monkeypatch, inputs, "-100")
    assert codes == {"Export the reference": 0, "Gate": 2, "Summarize a missed gate": 0}
    assert "got -100" in summary
    assert not (inputs / "w18_int8.onnx").exists()
