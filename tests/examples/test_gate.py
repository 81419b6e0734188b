"""examples/github_gate/workflow.yml: GitHub's own schema, and its commands on real files; the gate is met or missed."""

import subprocess

import pytest
import yaml
from helpers.docs_world import DATA, make_inputs, run
from helpers.example_program import EXAMPLES
from helpers.peer_environment import peer_python

pytestmark = pytest.mark.slow

WORKFLOW = EXAMPLES / "github_gate" / "workflow.yml"
CHECKER = "check-jsonschema==0.39.0"
SUMMARY = "GITHUB_STEP_SUMMARY"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The folder of weights and images, before any export."""
    if not DATA.is_dir():
        pytest.skip("the images of ../shared/data are not here")
    folder = tmp_path_factory.mktemp("gate") / "work"
    folder.mkdir()
    make_inputs(folder)
    return folder


def run_steps(monkeypatch, folder, max_drop, options=""):
    """Run the steps but the installation, as GitHub does; return the exit codes by step, and the summary.

    `options` are further options of the gate's export.
    """
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
            command = step["run"].replace(" --max-drop", f" {options} --max-drop")
            codes[step["name"]] = run(command, folder).returncode
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
    codes, summary = run_steps(monkeypatch, inputs, "5")
    assert codes == {"Export the reference": 0, "Gate": 0, "Report": 0}
    assert "top-1" in summary
    assert "w18_int8" in summary
    assert len(summary) < 1 << 20  # GitHub shows no more
    for name in ("report/report.html", "export.json", "gate.txt", "w18_int8.onnx"):
        assert (inputs / name).stat().st_size, name


def test_a_missed_gate_fails_the_job_and_the_summary_says_why(inputs, monkeypatch):
    for name in ("w18_int8.onnx", "export.json"):
        (inputs / name).unlink(missing_ok=True)
    # While every block must be INT8, nothing meets a limit of 0.
    codes, summary = run_steps(monkeypatch, inputs, "0", "--keep-fp none")
    assert codes == {"Export the reference": 0, "Gate": 3, "Summarize a missed gate": 0}
    assert "--max-drop" in summary
    assert not (inputs / "w18_int8.onnx").exists()
