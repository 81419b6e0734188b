"""Scripts in an environment that has Dask or Ray, which do not belong into that of the tests."""

import json
import os
import subprocess
from typing import Any

from helpers.peer_environment import ROOT, peer_python

PACKAGES = {"dask": "distributed==2026.8.0", "ray": "ray[client]==2.60.0"}
_RUNTIME = ("numpy", "jinja2", "tqdm", "onnxruntime", "opencv-python-headless")


def run_with_cluster(engine: str, *words: object) -> Any:
    """Run Python with these words beside this package; the last line of its output is JSON."""
    python = peer_python(engine, "-c", str(ROOT / "constraints.txt"), *_RUNTIME, PACKAGES[engine])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [str(python), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
