"""Notebooks, executed by Jupyter's own client in the Python of the tests.

`PYTHONPATH=.:tests python tests/helpers/notebook.py NOTEBOOK` stores the outputs of a fresh run in a notebook.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.peer_environment import ROOT, peer_python

PACKAGES = ("nbclient==0.11.0", "ipykernel==7.4.0")
SCRIPT = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbformat.validate(notebook)
place = {"metadata": {"path": sys.argv[2]}}
nbclient.NotebookClient(notebook, timeout=600, kernel_name="tests", resources=place).execute()
nbformat.write(notebook, sys.argv[3])
"""


def execute(notebook, folder, target):
    """Execute a notebook in a folder and write it with its outputs; return the process."""
    python = peer_python("notebook", *PACKAGES)
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    kernel = target.parent / "jupyter" / "kernels" / "tests"
    kernel.mkdir(parents=True)
    # The kernel is this Python, which has the exporter; Jupyter's packages come after its own.
    start = f"import sys; sys.path.append({str(packages)!r}); import ipykernel.kernelapp as k; k.launch_new_instance()"
    words = [sys.executable, "-c", start, "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": words, "display_name": "tests", "language": "python"}))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PATH": str(kernel.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [python, "-c", SCRIPT, notebook, folder, target]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)


def without_machine(notebook):
    """Drop from an executed notebook what another machine would write differently: messages, times and versions."""
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        if cell["cell_type"] == "code":
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"]["language_info"] = {"name": "python"}
    return notebook


if __name__ == "__main__":
    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, "executed.ipynb")
        done = execute(path, path.parent, executed)
        if done.returncode:
            sys.exit(done.stderr)
        path.write_text(
            json.dumps(without_machine(json.loads(executed.read_text())), indent=1, ensure_ascii=False) + "\n"
        )
