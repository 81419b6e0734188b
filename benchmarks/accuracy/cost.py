"""Time and memory of calibrating w18, and the speed of its INT8 graph on a CPU."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from comparison.interleave import ratio, time_rounds
from comparison.subprocess_run import run_script

from accuracy.cases import image_paths
from accuracy.judge import float32_graph, open_scores
from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.calibrate import calibrate, select_images
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget
from hrnet_deploy.system.progress import bar

if TYPE_CHECKING:
    import onnx

_COMPARED_IMAGES = 96
_FLAT_IMAGES = (32, 256)
_LATENCY_SECONDS = 20.0

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


def w18_graph(shared: Path, folder: Path) -> tuple[onnx.ModelProto, ExportPlan]:
    """Return the float32 graph of w18 with weights by the rule in `shared/fixtures`, and its INT8 plan."""
    import torch

    spec = importlib.util.spec_from_file_location("rule", shared / "fixtures" / "rule.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(shared / "fixtures" / "rule.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    rows = json.loads(gzip.decompress((shared / "fixtures" / "keys" / "official__w18.json.gz").read_bytes()))
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in rule.state_dict(rows).items()}
    checkpoint = folder / "w18.pth"
    torch.save(tensors, checkpoint)
    data = shared / "data" / "imagenet" / "calib"
    options = ExportOptions("hrnet_w18", weights=checkpoint, precision="int8", imgsz=224, calib_data=data)
    int8_plan, graph = float32_graph(options)
    return graph, int8_plan


def speed_rows(shared: Path, folder: Path, graph: onnx.ModelProto, *, quick: bool) -> list[dict[str, Any]]:
    """Measure time and peak memory of calibration alone, each in a process of its own."""
    path = folder / "w18.onnx"
    path.write_bytes(graph.SerializeToString())
    known = [str(p) for split in ("calib", "val") for p in image_paths(shared / "data" / "imagenet" / split)]
    runs = [("ours", _OURS_SCRIPT, count) for count in (*_FLAT_IMAGES, _COMPARED_IMAGES)]
    runs += [("onnxruntime.quantization", _ORT_SCRIPT, count) for count in (_FLAT_IMAGES[0], _COMPARED_IMAGES)]
    runs = [run for run in runs if not quick or run[2] == _FLAT_IMAGES[0]]
    rows: list[dict[str, Any]] = []
    for tool, script, count in bar(runs, desc="speed"):
        images = json.dumps([known[index % len(known)] for index in range(count)])
        try:
            cost = run_script(script, str(path), images, str(folder / f"speed{len(rows)}.onnx")).row()
        except RuntimeError as error:
            cost = {"error": str(error)}
        rows.append({"tool": tool, "images": count} | cost)
    return rows


def latency_rows(graph: onnx.ModelProto, int8_plan: ExportPlan, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Compare INT8 with float32 on ONNX Runtime's CPU provider: medians in ms and their ratio by batch size.

    An export would reject this model, whose thousand classes are noise, so its steps are run one by one.
    """
    images = select_images(Path(int8_plan.options.calib_data or ""), 16, allow_val=False)
    table = calibrate(graph, images, int8_plan.preprocessing, "entropy", folder / "latency.json")
    amax, layout = table.amax(), place_qdq(graph, QdqTarget.CPU, float_by_default(graph, QdqTarget.CPU))
    ranges = {name: ActivationRange(-amax[name] if table.tensors[name].low < 0 else 0.0, amax[name]) for name in amax}
    models = {"fp32": graph, "int8": to_qdq(graph, layout, ranges)}
    engines = {name: open_scores(model.SerializeToString()) for name, model in models.items()}
    rows: list[dict[str, Any]] = []
    for batch in (1, 8):
        feed = np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)
        calls = {name: functools.partial(engine, feed) for name, engine in engines.items()}
        times = time_rounds(calls, seconds=1.0 if quick else _LATENCY_SECONDS)
        medians = {f"{name}_ms": 1e3 * statistics.median(taken) for name, taken in times.items()}
        rows.append({"batch": batch, "ratio": ratio(times["fp32"], times["int8"])} | medians)
    return rows
