"""Time and memory of calibrating w18, each in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comparison.interleave import run_script

from accuracy.judge import image_paths
from hrnet_deploy import export
from hrnet_deploy.system.progress import bar

_COMPARED_IMAGES = 96
_FLAT_IMAGES = (32, 256)
_OURS_SCRIPT = """
import sys, json, time
from pathlib import Path
import onnx
from hrnet_deploy.calibration.batches import Batches
from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, calibrate
from hrnet_deploy.export.quantize.weight_rounding import ENOUGH_IMAGES, round_weights
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import Preprocessing
graph, listed, output = sys.argv[1:]
model = onnx.load(graph)
images = tuple(CalibrationImage("", Path(path)) for path in json.loads(listed))
began = time.perf_counter()
table = calibrate(model, CalibrationSplit(images, ()), Preprocessing(), "entropy", Path(output))
calibrated = time.perf_counter()
few = Batches(images[:ENOUGH_IMAGES], Preprocessing(), 1)
round_weights(model, place_qdq(model, QdqTarget.CPU, ()).weighted, few, per_channel=True)
rounding = time.perf_counter() - calibrated
print(json.dumps({"calibration_s": calibrated - began, "rounding_s": rounding, "tensors": len(table.tensors)}))
"""
_ORT_SCRIPT = """
import sys, json, time
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.spec import Preprocessing
graph, listed, output = sys.argv[1:]
preprocess = Preprocessor(Preprocessing())
class Reader(CalibrationDataReader):
    def __init__(self):
        self.feeds = ({"input": preprocess(read_frame(path).image)[None]} for path in json.loads(listed))
    def get_next(self):
        return next(self.feeds, None)
began = time.perf_counter()
calibrator = create_calibrator(graph, list(set(QLinearOpsRegistry) | set(QDQRegistry)), output,
                               CalibrationMethod.Entropy)
calibrator.collect_data(Reader())
data = calibrator.compute_data()
print(json.dumps({"calibration_s": time.perf_counter() - began, "tensors": len(data.data)}))
"""


def speed_rows(shared: Path, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Measure time and peak memory of calibration alone, with random weights."""
    path = export("hrnet_w18", weights="random", imgsz=224, output=folder / "w18.onnx").path
    known = [str(p) for split in ("calib", "val") for p in image_paths(shared / "data" / "imagenet" / split)]
    runs = [("ours", _OURS_SCRIPT, count) for count in (*_FLAT_IMAGES, _COMPARED_IMAGES)]
    runs += [("onnxruntime.quantization", _ORT_SCRIPT, count) for count in (_FLAT_IMAGES[0], _COMPARED_IMAGES)]
    rows: list[dict[str, Any]] = []
    for tool, script, count in bar([run for run in runs if not quick or run[2] == _FLAT_IMAGES[0]], desc="speed"):
        images = json.dumps([known[index % len(known)] for index in range(count)])
        try:
            cost = run_script(script, str(path), images, str(folder / f"speed{len(rows)}.onnx")).row()
        except RuntimeError as error:
            cost = {"error": str(error)}
        rows.append({"tool": tool, "images": count} | cost)
    return rows
