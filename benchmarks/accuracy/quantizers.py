"""Our quantizer in every layout, method and handicap, and the other tools, on one float32 graph."""

from __future__ import annotations

import dataclasses
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from comparison import baselines
from comparison.interleave import run_script

from accuracy.judge import Judge, open_scores
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.export.quantize.calibrate import select_images
from hrnet_deploy.export.quantize.int8 import Int8Converter
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.qdq_plan import QdqTarget, Residual
from hrnet_deploy.system.progress import bar

METHODS = ("entropy", "percentile", "minmax", "mse", "auto")
LAYOUTS: dict[str, dict[str, Any]] = {
    "cpu": {"target": QdqTarget.CPU},
    "tensorrt": {"target": QdqTarget.TENSORRT, "residual": Residual.FLOAT},
    "tensorrt, residual int8": {"target": QdqTarget.TENSORRT, "residual": Residual.INT8},
}
"""Fields of `Int8Plan` by name in the tables."""
KEEP_FP = {"entropy": "none", "auto": "auto"}
"""By method, what also runs with `--keep-fp`; the sensitivity analysis of `auto` takes most of the time."""
_FEW_IMAGES = 4
_OUTLIER_SHARE = 1e-3
_NOT_INSTALLED = "not installed"
_ORT_SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static
graph, arrays, output, method = sys.argv[1:]
class Reader(CalibrationDataReader):
    def __init__(self):
        name = onnx.load(graph).graph.input[0].name
        self.feeds = ({name: image[None]} for image in np.load(arrays))
    def get_next(self):
        return next(self.feeds, None)
quantize_static(graph, output, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                calibrate_method=getattr(CalibrationMethod, method))
"""
_MODELOPT_SCRIPT = """
import sys, numpy as np
from modelopt.onnx.quantization import quantize
graph, arrays, output, method = sys.argv[1:]
quantize(graph, quantize_mode="int8", calibration_data=np.load(arrays), calibration_method=method,
         calibration_eps=["cpu"], high_precision_dtype="fp32", output_path=output)
"""


def quantize_ours(judge: Judge, folder: Path, **options: Any) -> dict[str, Any]:
    """Quantize with this project and judge the result; the folder keeps the calibration table.

    Options are fields of `Int8Plan`, and `data` and `images` for another folder and number of images.
    """
    data = Path(options.pop("data", judge.case.data))
    images = select_images(data, options.pop("images", judge.case.count), allow_val=False)
    cache = folder / f"{judge.case.name}.{zlib.crc32(str(data).encode())}"
    int8 = dataclasses.replace(judge.plan.int8, cache=cache, **options)
    plan = dataclasses.replace(judge.plan, int8=int8, images=images)
    began = time.perf_counter()
    try:
        quantized = Int8Converter(judge.graph, plan).convert(())
    except HrnetDeployError as error:
        return {"error": str(error)}
    info = quantized.quantization
    if info is None or info.validation is None:
        raise TypeError("an INT8 graph must have figures of its validation images")
    taken = {"seconds": time.perf_counter() - began, "chosen": info.method, "kept": list(info.kept_in_float)}
    scores = {method: -divergence for method, divergence in info.method_divergence.items()}
    held_out = {"held_out": info.validation.agreement, "held_out_methods": scores}
    return judge.judge(open_scores(quantized.graph.SerializeToString())) | taken | held_out


def our_rows(
    judge: Judge, folder: Path, layouts: Sequence[str], methods: Sequence[str], *, keep_fp: bool
) -> list[dict[str, Any]]:
    """Measure layouts and methods of ours; with `keep_fp` also those of `KEEP_FP`."""
    rows: list[dict[str, Any]] = []
    for layout in layouts:
        for method in bar(methods, desc=f"{judge.case.name} {layout}"):
            head = _head(judge, f"ours, {layout}", method)
            rows.append(head | quantize_ours(judge, folder, method=method, **LAYOUTS[layout]))
            if method in KEEP_FP and keep_fp:
                row = quantize_ours(judge, folder, method=method, keep_fp=(KEEP_FP[method],), **LAYOUTS[layout])
                rows.append(head | {"method": f"{method}, --keep-fp {KEEP_FP[method]}"} | row)
    return rows


def baseline_rows(judge: Judge, folder: Path, modelopt: str | None) -> list[dict[str, Any]]:
    """Measure the other tools; `modelopt` is an interpreter that has nvidia-modelopt."""
    rows = [_head(judge, "NNCF on OpenVINO", "default") | _nncf(judge)]
    for method in bar(("Entropy", "MinMax"), desc=f"{judge.case.name} onnxruntime"):
        row = _in_process(judge, folder, sys.executable, _ORT_SCRIPT, method)
        rows.append(_head(judge, "onnxruntime.quantization", method.lower()) | row)
    for method in bar(("entropy", "max"), desc=f"{judge.case.name} modelopt"):
        row = _in_process(judge, folder, modelopt, _MODELOPT_SCRIPT, method) if modelopt else {"error": _NOT_INSTALLED}
        rows.append(_head(judge, "nvidia-modelopt", method) | row)
    return rows


def _head(judge: Judge, tool: str, method: str) -> dict[str, Any]:
    about = {"model": judge.case.name, "float32": judge.float32, "judged": len(judge.case.judged)}
    return about | {"tool": tool, "method": method}


def _in_process(judge: Judge, folder: Path, python: str, script: str, method: str) -> dict[str, Any]:
    """Quantize with another tool in a process of its own, and judge the result."""
    arrays, output = folder / f"{judge.case.name}.npy", folder / f"{judge.case.name}.baseline.onnx"
    if not arrays.exists():
        np.save(arrays, np.concatenate(judge.calibration_arrays()))
    words = (str(judge.path), str(arrays), str(output), method)
    environment = None if python == sys.executable else {"PYTHONPATH": ""}
    try:
        cost = run_script(script, *words, python=python, environment=environment)
    except (OSError, RuntimeError) as error:
        return {"error": str(error)}
    return judge.judge(open_scores(output.read_bytes())) | cost.row()


def _nncf(judge: Judge) -> dict[str, Any]:
    """Quantize with NNCF and judge the result on OpenVINO, in float32 where it is not INT8."""
    arrays = judge.calibration_arrays()
    try:
        quantized = baselines.quantized_openvino(judge.path, [array[0] for array in arrays])
    except (ImportError, HrnetDeployError):
        return {"error": _NOT_INSTALLED}
    return judge.judge(baselines.openvino_request(quantized, arrays[0].shape))


def robustness_rows(judge: Judge, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Measure the agreement of each method by layout and handicap; quick: the `cpu` layout alone."""
    rows: list[dict[str, Any]] = []
    handicaps: dict[str, dict[str, Any]] = {
        "per-tensor weights": {"per_channel": False},
        f"{_FEW_IMAGES} images": {"images": _FEW_IMAGES},
        f"{_OUTLIER_SHARE:.1%} outlier pixels": {"data": _with_outliers(judge, folder)},
    }
    for name, options in handicaps.items():
        within = folder / name.replace(" ", "-").replace("%", "")
        within.mkdir(exist_ok=True)
        for target in list(QdqTarget)[: 1 if quick else None]:
            row: dict[str, Any] = {"model": judge.case.name, "handicap": name, "target": target.value}
            for method in bar(METHODS, desc=f"{judge.case.name} {target.value} {name}"):
                row[method] = quantize_ours(judge, within, method=method, target=target, **options)
            rows.append(row)
    return rows


def _with_outliers(judge: Judge, folder: Path) -> Path:
    """Copy the calibration images and set some pixels to the ends of their range."""
    root = folder / f"{judge.case.name}-outliers"
    source = judge.case.data / "leftImg8bit" / "train" if judge.case.name == "street" else judge.case.data
    for path in (*judge.images.calibration, *judge.images.validation):
        image = read_frame(path.path).image.copy()
        random = np.random.default_rng(zlib.crc32(path.path.name.encode()))
        count = max(1, round(_OUTLIER_SHARE * image.shape[0] * image.shape[1]))
        at = random.integers(0, image.shape[:2], (count, 2))
        image[at[:, 0], at[:, 1]] = random.choice(np.array([0, 255], np.uint8), (count, 3))
        copy = root / path.path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Lossless under the old name, which decides which images are chosen; readers look at the content.
        copy.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return root
