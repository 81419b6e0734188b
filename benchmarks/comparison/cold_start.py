"""From nothing to the first output, each time in a fresh interpreter."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence

from comparison import baselines
from comparison.config import MODELS, Config, Key, Record, Records, log
from comparison.interleave import run_script
from comparison.table import Table

IMPORT = "import hrnet_deploy"
WITH_PREDICTOR = "from hrnet_deploy import Predictor (NumPy, OpenCV)"
_FLOOR, _SCRIPT, _FIRST, _AGAIN = "numpy-cv2", "plain-script", "first-start", "later-start"
_FIRST_OUTPUT = "first prediction"
_SECOND = "second prediction"
_ALL = "until the first output"
_ROUNDS = 7
_CLOCK = """
import json, sys, time
marks = {}
began = time.perf_counter()
def mark(name):
    global began
    marks[name] = 1e3 * (time.perf_counter() - began)
    began = time.perf_counter()
"""
_PRINT = """
print(json.dumps({"ms": marks}))
"""
_NUMPY_CV2 = f"""{_CLOCK}
import numpy, cv2
mark("import numpy, cv2")
{_PRINT}"""
_PLAIN_SCRIPT = f"""{_CLOCK}
import io
import numpy as np
import onnxruntime
from PIL import Image
mark("import numpy, PIL, onnxruntime")
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
mark("InferenceSession(path)")
image = Image.open(sys.argv[2]).convert("RGB").resize((int(sys.argv[4]), int(sys.argv[3])))
pixels = (np.asarray(image, np.float32) / 255 - np.float32(0.45)) / np.float32(0.225)
session.run(None, {{"input": np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]}})
mark("{_FIRST_OUTPUT}")
{_PRINT}"""
_OURS = f"""{_CLOCK}
import hrnet_deploy
mark("{IMPORT}")
heavy = sorted({{"torch", "onnx", "tensorrt", "onnxruntime", "numpy", "cv2"}} & set(sys.modules))
began = time.perf_counter()
from hrnet_deploy import Predictor
mark("{WITH_PREDICTOR}")
heavy += sorted({{"torch", "onnx", "tensorrt"}} & set(sys.modules))
began = time.perf_counter()
predictor = Predictor(sys.argv[1], device="cpu")
mark("Predictor(path), the runtime's import included")
predictor.predict(sys.argv[2])
mark("{_FIRST_OUTPUT}")
predictor.predict(sys.argv[2])
mark("{_SECOND}")
print(json.dumps({{"heavy": heavy}}))
{_PRINT}"""


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """Return (model, precision, way); the floor and the plain script come first."""
    ways = (_AGAIN,) if quick else (_FIRST, _AGAIN)
    ours = [(names[0], precision, way) for precision in ("fp32", "int8") for way in ways]
    return [("-", "-", _FLOOR), (names[0], "fp32", _SCRIPT), *ours]


def measure(config: Config, key: Key) -> Record:
    """Time several starts; a "first start" finds an empty cache."""
    name, precision, way = key
    image, script, words = str(config.jpegs(1)[0]), _NUMPY_CV2, [""]
    if way == _SCRIPT:
        size_hw = MODELS[name]
        plain = baselines.plain_onnx(name, size_hw, config.folder)
        script, words = _PLAIN_SCRIPT, [str(plain), image, *map(str, size_hw)]
    elif way != _FLOOR:
        path = config.artifact(name, precision, MODELS[name], baselines.checkpoint(name, config.folder))
        script, words = _OURS, [str(path), image]
    rounds = 1 if config.quick else _ROUNDS
    log(f"cold_start {' '.join(key)}: {rounds} rounds")
    found = []
    with tempfile.TemporaryDirectory() as shared_cache:
        for index in range(rounds + 1):
            cache = shared_cache if way != _FIRST else f"{shared_cache}/{index}"
            found.append(run_script(script, *words, environment={"HRNET_DEPLOY_CACHE": cache}).values)
    del found[0]  # it loads the files into the system's memory
    steps = {step: [round(one["ms"][step], 2) for one in found] for step in found[0]["ms"]}
    return {"ms": steps, "heavy": sorted({name for one in found for name in one.get("heavy", ())}), "notes": []}


def table(records: Records) -> Table:
    """Tabulate one step a row."""
    lines = Table("Cold start", ("model", "precision", "way", "step", "ms (median)", "starts"))
    for (name, precision, way), record in records.items():
        steps = dict(record["ms"])
        if _FIRST_OUTPUT in steps:
            until_first = (taken for step, taken in record["ms"].items() if step != _SECOND)
            steps[_ALL] = [sum(one) for one in zip(*until_first, strict=True)]
        for step, taken in steps.items():
            cells = (step, f"{statistics.median(taken):.0f}", str(len(taken)))
            lines.rows.append((name, precision, way.replace("-", " "), *cells))
        if record["heavy"]:
            lines.notes.append(f"{name} {precision}: importing loads {', '.join(record['heavy'])}")
    return lines
