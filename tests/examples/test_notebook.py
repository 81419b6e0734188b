"""examples/notebook.ipynb: executed from the first cell to the last, and its stored outputs."""

import json
import re

import pytest
from helpers.example_program import EXAMPLES
from helpers.notebook import execute, without_machine

NOTEBOOK = EXAMPLES / "notebook.ipynb"
STORED = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
MAX_BYTES = 200_000


def outputs(notebook):
    """The outputs of each code cell."""
    return [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell_outputs):
    return [(one["output_type"], sorted(one.get("data", ()))) for one in cell_outputs]


@pytest.mark.slow
def test_every_cell_runs_and_prints_what_is_stored(tmp_path):
    done = execute(NOTEBOOK, EXAMPLES, tmp_path / "executed.ipynb")
    assert done.returncode == 0, done.stderr[-3000:]
    executed = outputs(without_machine(json.loads((tmp_path / "executed.ipynb").read_text())))
    stored = outputs(STORED)
    assert [kinds(cell) for cell in executed] == [kinds(cell) for cell in stored]
    *exact, report = executed
    assert [[one.get("text") for one in cell] for cell in exact] == [
        [one.get("text") for one in cell] for cell in stored[:-1]
    ]
    text = "".join(report[0]["text"])  # speed and INT8 arithmetic are the machine's
    assert re.search(r"street_int8\.onnx: .*% of pixels equal the reference's", text)


def test_stored_outputs_are_complete_small_and_of_no_machine():
    code = [cell for cell in STORED["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum(len(cell["outputs"]) for cell in code) >= 5
    assert without_machine(json.loads(json.dumps(STORED))) == STORED
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    stored = json.loads(json.dumps(STORED))
    shown = [one["data"] for cell in outputs(stored) for one in cell if "data" in one]
    assert [bool(data.pop("image/jpeg")) for data in shown] == [True]
    assert not re.search(r"(?<![\w.])/(?:[\w.-]+/)+[\w.-]+|[A-Z]:\\", json.dumps(stored))  # absolute paths
