"""From nothing to the first answer, each time in a fresh interpreter."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence

from contest import peers
from contest.child import child
from contest.section import Key, Record, Records
from contest.setting import NETS, Setting, say
from contest.table import Table

IMPORT = "import hrnet_deploy"
WITH_PREDICTOR = "from hrnet_deploy import Predictor (NumPy, OpenCV)"
_FLOOR, _SCRIPT, _FIRST, _AGAIN = "numpy-cv2", "plain-script", "first-start", "later-start"
_FIRST_ANSWER = "first prediction"
_SECOND = "second prediction"
_ALL = "until the first answer"
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
picture = Image.open(sys.argv[2]).convert("RGB").resize((int(sys.argv[4]), int(sys.argv[3])))
pixels = (np.asarray(picture, np.float32) / 255 - np.float32(0.45)) / np.float32(0.225)
session.run(None, {{"input": np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]}})
mark("{_FIRST_ANSWER}")
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
mark("{_FIRST_ANSWER}")
predictor.predict(sys.argv[2])
mark("{_SECOND}")
print(json.dumps({{"heavy": heavy}}))
{_PRINT}"""


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """(net, precision, way); the floor and the plain script first."""
    ways = (_AGAIN,) if quick else (_FIRST, _AGAIN)
    ours = [(names[0], precision, way) for precision in ("fp32", "int8") for way in ways]
    return [("-", "-", _FLOOR), (names[0], "fp32", _SCRIPT), *ours]


def measure(setting: Setting, key: Key) -> Record:
    """Several starts; our first one finds nothing that an earlier one kept."""
    name, precision, way = key
    picture = str(setting.jpegs(1)[0])
    script, words = _NUMPY_CV2, [""]
    if way == _SCRIPT:
        height, width = NETS[name]
        plain = peers.plain_onnx(name, NETS[name], setting.folder)
        script, words = _PLAIN_SCRIPT, [str(plain), picture, str(height), str(width)]
    elif way != _FLOOR:
        path = setting.artefact(name, precision, NETS[name], peers.checkpoint(name, setting.folder))
        script, words = _OURS, [str(path), picture]
    rounds = 1 if setting.quick else _ROUNDS
    say(f"start {' '.join(key)}: {rounds} rounds")
    found = []
    with tempfile.TemporaryDirectory() as kept:
        for index in range(-1, rounds):
            cache = kept if way != _FIRST else f"{kept}/{index}"
            answer = child(script, *words, environment={"HRNET_DEPLOY_CACHE": cache}).values
            if index >= 0:  # the first brings the files into the system's memory
                found.append(answer)
    steps = {step: [round(one["ms"][step], 2) for one in found] for step in found[0]["ms"]}
    return {"ms": steps, "heavy": sorted({name for one in found for name in one.get("heavy", ())}), "notes": []}


def table(records: Records) -> Table:
    """A line a step."""
    lines = Table("Start", ("net", "precision", "way", "step", "ms (median)", "starts"))
    for (name, precision, way), record in records.items():
        steps = dict(record["ms"])
        if _FIRST_ANSWER in steps:
            steps[_ALL] = _until_first(record["ms"])
        for step, taken in steps.items():
            cells = (step, f"{statistics.median(taken):.0f}", str(len(taken)))
            lines.rows.append((name, precision, way.replace("-", " "), *cells))
        if record["heavy"]:
            lines.notes.append(f"{name} {precision}: importing loads {', '.join(record['heavy'])}")
    return lines


def _until_first(steps: dict[str, list[float]]) -> list[float]:
    """Sums over the steps, one a start."""
    return [sum(one) for one in zip(*(taken for step, taken in steps.items() if step != _SECOND), strict=True)]
