"""What INT8 costs in accuracy, by rendering, method and tool; what calibration costs; what INT8 gains on a CPU.

    python benchmarks/calibration.py [--shared DIR] [--modelopt PYTHON] [--only PART ...] [--quick] [--json FILE]
    python benchmarks/calibration.py --only accuracy --nets street --layouts tensorrt --methods entropy

Parts: accuracy, robustness, speed, latency. With --layouts or --methods, accuracy is that of ours alone.
The tools beside ours are onnxruntime.quantization (QDQ, per channel, its defaults), NNCF (its defaults) and
nvidia-modelopt, which needs an interpreter of its own: --modelopt or MODELOPT_PYTHON. All get the same float32 graph
and the same calibration arrays in the same run; every graph is judged on ONNX Runtime's CPU provider, NNCF's on
OpenVINO, on images that nothing was calibrated on or chosen by.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.calibration.image_selection import check_disjoint
from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.plan import ExportPlan, make_plan
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, calibrate, input_batches, select_images
from hrnet_deploy.export.quantize.float_graph import FloatGraph
from hrnet_deploy.export.quantize.int8 import Int8Converter
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.postprocess import upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget, Residual
from hrnet_deploy.system.progress import bar

if TYPE_CHECKING:
    import onnx

PARTS = ("accuracy", "robustness", "speed", "latency")
METHODS = ("entropy", "percentile", "minmax", "mse", "auto")
LAYOUTS: dict[str, dict[str, Any]] = {
    "cpu": {"target": QdqTarget.CPU},
    "tensorrt": {"target": QdqTarget.TENSORRT, "residual": Residual.FLOAT},
    "tensorrt, residual int8": {"target": QdqTarget.TENSORRT, "residual": Residual.INT8},
}
"""Fields of `Int8Plan` by name in the tables."""
Net = Callable[[NDArray[np.float32]], NDArray[Any]]
KEEP_FP = {"entropy": "none", "auto": "auto"}
"""By method, what is also run with `--keep-fp`; the sensitivity analysis of `auto` takes most of the time."""
FEW_IMAGES = 4
OUTLIER_SHARE = 1e-3
SPEED_IMAGES = 96
FLAT_IMAGES = (32, 256)
_IGNORE = 255
_NO_PRODUCT = "not installed"

_ORT_QUANTIZE = """
import sys, json, warnings
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
print("{}")
"""
_MODELOPT_QUANTIZE = """
import sys, numpy as np
from modelopt.onnx.quantization import quantize
graph, arrays, output, method = sys.argv[1:]
quantize(graph, quantize_mode="int8", calibration_data=np.load(arrays), calibration_method=method,
         calibration_eps=["cpu"], high_precision_dtype="fp32", output_path=output)
print("{}")
"""
_SPEED_OURS = """
import sys, json, time
from pathlib import Path
import onnx
from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, calibrate, input_batches
from hrnet_deploy.export.quantize.weight_rounding import ENOUGH_IMAGES, round_weights
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import Preprocessing
graph, listed, output = sys.argv[1:]
model = onnx.load(graph)
images = tuple(CalibrationImage("", Path(path)) for path in json.loads(listed))
began = time.perf_counter()
table = calibrate(model, CalibrationSplit(images, ()), Preprocessing(), "entropy", Path(output))
calibrated = time.perf_counter()
few = input_batches(images[:ENOUGH_IMAGES], Preprocessing())
round_weights(model, place_qdq(model, QdqTarget.CPU, ()).weighted, few, per_channel=True)
rounding = time.perf_counter() - calibrated
print(json.dumps({"calibration_s": calibrated - began, "rounding_s": rounding, "tensors": len(table.tensors)}))
"""
_SPEED_ORT = """
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


@dataclass(frozen=True)
class Case:
    """A trained net, what it is calibrated on and what it is judged on.

    Attributes:
        name: in the tables.
        model: a variant or an .onnx file.
        weights: a checkpoint.
        options: of the export.
        data: folder to calibrate on.
        count: images to calibrate on; where there are fewer, a fifth is set aside for `auto` to judge by.
        judged: images that nothing is calibrated on.
        truths: label image or class index of each; empty where likeness to float32 is all that is judged.
        views: judge each image also mirrored and shifted: one answer an image says little about one in a hundred.
        limits: agreement, drop in points and worst image that INT8 must reach.
    """

    name: str
    model: str | None
    weights: Path | None
    options: dict[str, Any]
    data: Path
    count: int
    judged: tuple[Path, ...]
    truths: tuple[Path | int, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    views: bool = False


def cases(shared: Path) -> list[Case]:
    """The three nets of the shared folder.

    Args:
        shared: holds `weights` and `data`.

    Returns:
        One case each.
    """
    weights, data = shared / "weights", shared / "data"
    street = _found(data / "street" / "leftImg8bit" / "val")
    labels = [str(p).replace("leftImg8bit/", "gtFine/", 1) for p in street]
    photos = _found(data / "photos" / "val")
    classes = sorted({path.parent.name for path in photos})
    half = (0.5, 0.5, 0.5)
    return [
        Case(
            "street",
            None,
            weights / "hrnetv2_w18_small_v1_street.pth",
            {"imgsz": "360x480", "batch": 1},
            data / "street",
            24,
            street,
            tuple(Path(label.replace("_leftImg8bit.png", "_gtFine_labelTrainIds.png")) for label in labels),
            {"drop": 0.2, "agreement": 0.992},
        ),
        Case(
            "photos",
            None,
            weights / "hrnet_w18_small_v1_photos10.safetensors",
            {"imgsz": 64, "batch": 1, "resize": "squash"},
            data / "photos" / "train",
            512,
            photos,
            tuple(classes.index(path.parent.name) for path in photos),
            {"drop": 0.5, "agreement": 0.985},
            views=True,
        ),
        Case(
            "person",
            str(weights / "person_w18_small_v1.onnx"),
            None,
            {"mean": half, "std": half},
            data / "imagenet" / "calib",
            512,
            _found(data / "imagenet" / "val"),
            limits={"agreement": 0.996, "worst": 0.97},
        ),
    ]


def _found(folder: Path) -> tuple[Path, ...]:
    return tuple(image.path for image in find_images(folder, allow_val=True))


_SHIFTS = ((0, 0), (-3, 2), (-2, -2), (-1, 3), (1, -3), (2, 2), (3, -1), (0, 3), (-3, -3), (3, 0))


def _views(image: NDArray[np.uint8]) -> Iterable[NDArray[np.uint8]]:
    """The image and its mirror image, each as it is and shifted nine ways by up to three pixels."""
    height, width = image.shape[:2]
    for facing in (image, image[:, ::-1]):
        wide = cv2.copyMakeBorder(np.ascontiguousarray(facing), 4, 4, 4, 4, cv2.BORDER_REFLECT_101)
        for down, right in _SHIFTS:
            yield np.ascontiguousarray(wide[4 + down : 4 + down + height, 4 + right : 4 + right + width])


class Bench:
    """One net: its float32 graph, the float32 answers, and how others compare with them."""

    def __init__(self, case: Case, folder: Path) -> None:
        """Trace the net and answer with it.

        Args:
            case: the net.
            folder: for graphs and tables.
        """
        options = ExportOptions(
            case.model,
            weights=case.weights,
            task="segmentation" if case.model else None,
            precision="int8",
            calib_data=case.data,
            **case.options,
        )
        source = open_source(options)
        self.case = case
        self.plan: ExportPlan = make_plan(options).resolve(source.info)
        self.graph: onnx.ModelProto = simplify(source.to_onnx(self.plan.shapes, self.plan.opset))
        self.path = folder / f"{case.name}.onnx"
        self.path.write_bytes(self.graph.SerializeToString())
        self.images: CalibrationSplit = select_images(case.data, case.count, allow_val=False)
        check_disjoint([*self.images.calibration, *self.images.validation], case.judged)
        preprocess = Preprocessor(self.plan.preprocessing)
        views = _views if case.views else (lambda image: (image,))
        images = [view for path in case.judged for view in views(read_frame(path).image)]
        self._feeds = [preprocess(image)[None] for image in images]
        self._truths = [_truth(truth) for truth in case.truths for _ in range(len(images) // len(case.judged))]
        self._sizes = [(t.shape[0], t.shape[1]) for t in self._truths if t.ndim == 2]
        self._reference = self._answers(_opened(self.graph.SerializeToString()))
        self.float32 = self._accuracy(self._reference)

    def ours(self, folder: Path, **wishes: Any) -> dict[str, Any]:
        """Quantise with this project and judge the result.

        Args:
            folder: where the calibration table lies.
            wishes: fields of `Int8Plan`, and `data` and `images` for another folder and number of images.

        Returns:
            A row.
        """
        data = Path(wishes.pop("data", self.case.data))
        images = select_images(data, wishes.pop("images", self.case.count), allow_val=False)
        cache = folder / f"{self.case.name}.{zlib.crc32(str(data).encode())}"
        int8 = dataclasses.replace(self.plan.int8, cache=cache, **wishes)
        plan = dataclasses.replace(self.plan, int8=int8, images=images)
        began = time.perf_counter()
        try:
            made = Int8Converter(FloatGraph(self.graph, plan)).convert(())
        except HrnetDeployError as error:
            return {"error": str(error)}
        info = made.quantization
        if info is None or info.validation is None:
            raise TypeError("an INT8 graph must have figures of its validation images")
        taken = {"seconds": time.perf_counter() - began, "chosen": info.method, "kept": list(info.kept_in_float)}
        scores = {method: -divergence for method, divergence in info.method_divergence.items()}
        held_out = {"held_out": info.validation.agreement, "held_out_methods": scores}
        return self.judge(_opened(made.graph.SerializeToString())) | taken | held_out

    def peer(self, folder: Path, python: str, script: str, method: str) -> dict[str, Any]:
        """Quantise with another tool, in a process of its own, and judge the result.

        Args:
            folder: for its files.
            python: interpreter that has the tool.
            script: takes graph, arrays, output and method.
            method: the tool's name for it.

        Returns:
            A row.
        """
        arrays, output = folder / f"{self.case.name}.npy", folder / f"{self.case.name}.peer.onnx"
        if not arrays.exists():
            np.save(arrays, np.concatenate(list(input_batches(self.images.calibration, self.plan.preprocessing))))
        try:
            cost = child(script, str(self.path), str(arrays), str(output), method, python=python)
        except (OSError, RuntimeError) as error:
            return {"error": str(error)}
        return self.judge(_opened(output.read_bytes())) | cost

    def nncf(self) -> dict[str, Any]:
        """Quantise with NNCF and judge the result on OpenVINO, in float32 where it is not INT8.

        Returns:
            A row.
        """
        try:
            openvino, nncf = (importlib.import_module(name) for name in ("openvino", "nncf"))
        except ImportError:
            return {"error": _NO_PRODUCT}
        nncf.set_log_level(40)
        images = list(input_batches(self.images.calibration, self.plan.preprocessing))
        core = openvino.Core()
        model = nncf.quantize(core.read_model(str(self.path)), nncf.Dataset(images), subset_size=len(images))
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return self.judge(lambda feed: np.array(compiled(feed)[0]))

    def judge(self, net: Net) -> dict[str, Any]:
        """Compare a net with the float32 one.

        Args:
            net: takes float32 (1, 3, H, W) and gives scores.

        Returns:
            Share of equal answers over all judged images and of the worst one; accuracy and its drop in points. With
            views also the standard error (pictures are independent, their views are not) and the share without them.
        """
        answers = self._answers(net)
        equal = [float(np.mean(a == b)) for a, b in zip(answers, self._reference, strict=True)]
        whole = len(equal) // len(self.case.judged)
        row: dict[str, Any] = {"agreement": float(np.mean(equal)), "worst": min(equal)}
        if self.case.views:
            pictures = np.reshape(equal, (-1, whole))
            row |= {
                "plain": float(pictures[:, 0].mean()),
                "se": float(pictures.mean(axis=1).std() / len(pictures) ** 0.5),
            }
        if self._truths:
            accuracy = self._accuracy(answers)
            row |= {"accuracy": accuracy, "drop": self.float32 - accuracy}
        limits = self.case.limits
        missed = [n for n in ("agreement", "worst") if row[n] < limits.get(n, 0.0)]
        missed += ["drop"] if row.get("drop", 0.0) > limits.get("drop", 100.0) + 1e-9 else []
        return row | {"missed": missed}

    def _answers(self, net: Net) -> list[NDArray[Any]]:
        scores = (net(feed)[0] for feed in self._feeds)
        if self._sizes:
            return [upsampled_argmax(s, hw) for s, hw in zip(scores, self._sizes, strict=True)]
        return [np.asarray(s.argmax(axis=0)) for s in scores]

    def _accuracy(self, answers: Sequence[NDArray[Any]]) -> float:
        """Mean IoU over the classes that occur, or top-1; in percent."""
        if not self._truths:
            return float("nan")
        truth, found = (np.concatenate([a.ravel() for a in arrays]) for arrays in (self._truths, answers))
        if not self._sizes:
            return 100 * float(np.mean(truth == found))
        counted = truth != _IGNORE
        truth, found = truth[counted].astype(np.int64), found[counted].astype(np.int64)
        size = int(max(truth.max(), found.max())) + 1
        table = np.bincount(truth * size + found, minlength=size * size).reshape(size, size)
        hits, real, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
        occurs = real > 0
        return 100 * float(np.mean(hits[occurs] / (real + said - hits)[occurs]))


def _opened(content: bytes) -> Net:
    """A graph on ONNX Runtime's CPU provider."""
    engine = open_engine(content, device="cpu", backend="onnxruntime")
    entry, exit_ = engine.inputs[0].name, engine.outputs[0].name
    return lambda feed: engine.run({entry: feed})[exit_]


_PEAK = """
import re
with open("/proc/self/status") as status:
    print(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])
"""
"""Prints the largest resident set in KiB; what wait4 tells of a child includes its parent's size at the fork."""


def _truth(truth: Path | int) -> NDArray[Any]:
    if isinstance(truth, int):
        return np.asarray([truth])
    image = cv2.imread(str(truth), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(truth)
    return image


def child(script: str, *words: str, python: str = sys.executable) -> dict[str, float]:
    """Run a script in a fresh interpreter.

    Args:
        script: prints one JSON object last.
        words: its arguments.
        python: the interpreter.

    Returns:
        That object with `seconds` and `peak_gib` (largest resident set) added.
    """
    hidden = {} if python == sys.executable else {"PYTHONPATH": ""}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        pid = os.posix_spawn(
            python,
            [python, "-c", script + _PEAK, *words],
            os.environ | {"TQDM_DISABLE": "1"} | hidden,
            file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)],
        )
        _, status = os.waitpid(pid, 0)
        seconds = time.perf_counter() - began
        out.seek(0)
        log.seek(0)
        if status:
            last = log.read().decode(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"ended with status {status}: {' '.join(last)}")
        *_, said, peak = out.read().decode().strip().splitlines()
        answer: dict[str, float] = json.loads(said)
    return answer | {"seconds": seconds, "peak_gib": int(peak) / 2**20}


def ours(
    bench: Bench, folder: Path, layouts: Sequence[str], methods: Sequence[str], *, quick: bool
) -> list[dict[str, Any]]:
    """Renderings and methods of ours.

    Args:
        bench: the net.
        folder: for files.
        layouts: keys of `LAYOUTS`.
        methods: of `METHODS`.
        quick: without `--keep-fp`.

    Returns:
        Rows.
    """
    rows: list[dict[str, Any]] = []
    about = {"net": bench.case.name, "float32": bench.float32, "judged": len(bench.case.judged)}
    for layout in layouts:
        for method in bar(methods, desc=f"{bench.case.name} {layout}"):
            head = about | {"tool": f"ours, {layout}", "method": method}
            rows.append(head | bench.ours(folder, method=method, **LAYOUTS[layout]))
            if method in KEEP_FP and not quick:
                kept = bench.ours(folder, method=method, keep_fp=(KEEP_FP[method],), **LAYOUTS[layout])
                rows.append(head | {"method": f"{method}, --keep-fp {KEEP_FP[method]}"} | kept)
    return rows


def accuracy(bench: Bench, folder: Path, modelopt: str | None, *, quick: bool) -> list[dict[str, Any]]:
    """Every rendering and method of ours, and the other tools.

    Args:
        bench: the net.
        folder: for files.
        modelopt: interpreter that has nvidia-modelopt.
        quick: entropy alone, without `--keep-fp auto`.

    Returns:
        Rows.
    """
    rows = ours(bench, folder, tuple(LAYOUTS), METHODS[:1] if quick else METHODS, quick=quick)
    about = {"net": bench.case.name, "float32": bench.float32, "judged": len(bench.case.judged)}
    rows.append(about | {"tool": "NNCF on OpenVINO", "method": "default"} | bench.nncf())
    for method in bar(("Entropy", "MinMax"), desc=f"{bench.case.name} onnxruntime"):
        head = about | {"tool": "onnxruntime.quantization", "method": method.lower()}
        rows.append(head | bench.peer(folder, sys.executable, _ORT_QUANTIZE, method))
    for method in bar(("entropy", "max"), desc=f"{bench.case.name} modelopt"):
        head = about | {"tool": "nvidia-modelopt", "method": method}
        made = bench.peer(folder, modelopt, _MODELOPT_QUANTIZE, method) if modelopt else {"error": _NO_PRODUCT}
        rows.append(head | made)
    return rows


def robustness(bench: Bench, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Where each method breaks, and whether `auto` chooses right.

    Args:
        bench: the net.
        folder: for files.
        quick: the `cpu` rendering alone.

    Returns:
        Rows: agreement by method, by rendering and handicap.
    """
    rows: list[dict[str, Any]] = []
    handicaps: dict[str, dict[str, Any]] = {
        "per-tensor weights": {"per_channel": False},
        f"{FEW_IMAGES} images": {"images": FEW_IMAGES},
        f"{OUTLIER_SHARE:.1%} outlier pixels": {"data": _with_outliers(bench, folder)},
    }
    for name, wishes in handicaps.items():
        within = folder / name.replace(" ", "-").replace("%", "")
        within.mkdir(exist_ok=True)
        for target in list(QdqTarget)[: 1 if quick else None]:
            row: dict[str, Any] = {"net": bench.case.name, "handicap": name, "target": target.value}
            for method in bar(METHODS, desc=f"{bench.case.name} {target.value} {name}"):
                row[method] = bench.ours(within, method=method, target=target, **wishes)
            rows.append(row)
    return rows


def _with_outliers(bench: Bench, folder: Path) -> Path:
    """A copy of the calibration folder's images with some pixels at the ends of their range."""
    root = folder / f"{bench.case.name}-outliers"
    source = bench.case.data / "leftImg8bit" / "train" if bench.case.name == "street" else bench.case.data
    for path in (*bench.images.calibration, *bench.images.validation):
        image = read_frame(path.path).image.copy()
        random = np.random.default_rng(zlib.crc32(path.path.name.encode()))
        count = max(1, round(OUTLIER_SHARE * image.shape[0] * image.shape[1]))
        at = random.integers(0, image.shape[:2], (count, 2))
        image[at[:, 0], at[:, 1]] = random.choice(np.array([0, 255], np.uint8), (count, 3))
        copy = root / path.path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Lossless under the old name, which decides which images are chosen; files are told apart by content.
        copy.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return root


def parity_net(shared: Path, folder: Path) -> tuple[onnx.ModelProto, ExportPlan]:
    """The float32 graph of w18 with the weights of the shared rule.

    Args:
        shared: holds `fixtures`.
        folder: for the checkpoint.

    Returns:
        The graph and how it would be made INT8.
    """
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
    source = open_source(options)
    plan = make_plan(options).resolve(source.info)
    return simplify(source.to_onnx(plan.shapes, plan.opset)), plan


def speed(shared: Path, folder: Path, graph: onnx.ModelProto) -> list[dict[str, Any]]:
    """Time and peak memory of calibration alone, each in a process of its own.

    Args:
        shared: holds the images.
        folder: for files.
        graph: of w18.

    Returns:
        Rows.
    """
    path = folder / "w18.onnx"
    path.write_bytes(graph.SerializeToString())
    known = [str(p) for split in ("calib", "val") for p in _found(shared / "data" / "imagenet" / split)]
    runs = [("ours", _SPEED_OURS, count) for count in (*FLAT_IMAGES, SPEED_IMAGES)]
    runs += [("onnxruntime.quantization", _SPEED_ORT, count) for count in (FLAT_IMAGES[0], SPEED_IMAGES)]
    rows: list[dict[str, Any]] = []
    for tool, script, count in bar(runs, desc="speed"):
        images = json.dumps([known[index % len(known)] for index in range(count)])
        output = folder / f"speed{len(rows)}.onnx"
        try:
            cost: dict[str, Any] = dict(child(script, str(path), images, str(output)))
        except RuntimeError as error:
            cost = {"error": str(error)}
        rows.append({"tool": tool, "images": count} | cost)
    return rows


def latency(graph: onnx.ModelProto, plan: ExportPlan, folder: Path) -> list[dict[str, Any]]:
    """INT8 against float32 on ONNX Runtime's CPU provider, in turn.

    The exporter would refuse this net, whose thousand classes are noise; so its steps are taken one by one.

    Args:
        graph: float32.
        plan: how INT8 is done.
        folder: for the table.

    Returns:
        One row per batch size, with medians in ms and the median of the pairwise ratio.
    """
    images = select_images(Path(plan.options.calib_data or ""), 16, allow_val=False)
    table = calibrate(graph, images, plan.preprocessing, "entropy", folder / "latency.json")
    amax, layout = table.amax(), place_qdq(graph, QdqTarget.CPU, float_by_default(graph, QdqTarget.CPU))
    ranges = {name: ActivationRange(-amax[name] if table.tensors[name].low < 0 else 0.0, amax[name]) for name in amax}
    models = (graph, to_qdq(graph, layout, ranges))
    engines = [open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime") for model in models]
    rows: list[dict[str, Any]] = []
    for batch, rounds in ((1, 60), (8, 20)):
        feed = np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)
        times: list[list[float]] = []
        for _ in bar(range(rounds + 3), desc=f"latency, batch {batch}"):
            pair: list[float] = []
            for engine in engines:
                began = time.perf_counter()
                engine.run({engine.inputs[0].name: feed})
                pair.append((time.perf_counter() - began) * 1e3)
            times.append(pair)
        fp32, int8 = (list(column) for column in zip(*times[3:], strict=True))
        ratio = statistics.median(a / b for a, b in zip(fp32, int8, strict=True))
        medians = {"fp32_ms": statistics.median(fp32), "int8_ms": statistics.median(int8)}
        rows.append({"batch": batch, "ratio": ratio} | medians)
    return rows


def main() -> int:
    """Run what was asked for and print tables; with --json also write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--modelopt", default=os.environ.get("MODELOPT_PYTHON"), help="interpreter that has it")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--nets", nargs="+", default=("street", "photos", "person"))
    parser.add_argument("--layouts", nargs="+", choices=tuple(LAYOUTS), help="of accuracy")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="of accuracy")
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--json", type=Path, help="write the rows there")
    args = parser.parse_args()
    record: dict[str, Any] = {}

    def done(part: str, rows: list[dict[str, Any]]) -> None:
        record.setdefault(part, []).extend(rows)
        print("\n".join(_TABLES[part](rows)), end="\n\n", flush=True)
        if args.json:
            args.json.write_text(json.dumps(record, indent=2), encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"accuracy", "robustness"}.intersection(args.only):
            for case in cases(args.shared):
                if case.name not in args.nets:
                    continue
                bench = Bench(case, folder)
                if "accuracy" in args.only and (args.layouts or args.methods):
                    chosen = (args.layouts or tuple(LAYOUTS), args.methods or METHODS)
                    done("accuracy", ours(bench, folder, *chosen, quick=True))
                elif "accuracy" in args.only:
                    done("accuracy", accuracy(bench, folder, args.modelopt, quick=args.quick))
                if "robustness" in args.only:
                    done("robustness", robustness(bench, folder, quick=args.quick))
        if {"speed", "latency"}.intersection(args.only):
            graph, plan = parity_net(args.shared, folder)
            if "speed" in args.only:
                done("speed", speed(args.shared, folder, graph))
            if "latency" in args.only:
                done("latency", latency(graph, plan, folder))
    return 0


def _accuracy_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| net | tool | method | mIoU or top-1 % (float32) | drop, points | equal answers % | worst image % | missed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        method = f"{row['method']} ({row['chosen']})" if row["method"].startswith("auto") else row["method"]
        head = f"| {row['net']} | {row['tool']} | {method} | "
        if "error" in row:
            lines.append(f"{head}{row['error']} | | | | |")
            continue
        scored = "accuracy" in row
        level = f"{row['accuracy']:.2f} ({row['float32']:.2f}) | {row['drop']:+.2f}" if scored else "- | -"
        kept = f"; kept {len(row['kept'])}: {', '.join(row['kept'])}" if row.get("kept") else ""
        missed = ", ".join(row["missed"]) or "-"
        equal = f"{row['agreement']:.2%}"
        if "se" in row:
            equal += f" ± {100 * row['se']:.2f} ({row['plain']:.2%})"
        lines.append(f"{head}{level} | {equal} | {row['worst']:.2%} | {missed}{kept} |")
    return lines


def _robustness_table(rows: list[dict[str, Any]]) -> list[str]:
    plain = METHODS[:-1]
    lines = [
        f"| net | rendering | handicap | {' | '.join(plain)} | auto chose | behind the best, points |",
        "|---|---|---|" + "---|" * (len(plain) + 2),
    ]
    for row in rows:
        found = [row[m].get("agreement") for m in plain]
        best = max((f for f in found if f is not None), default=0.0)
        cells = ["refused" if f is None else f"{f:.2%}" for f in found]
        auto = row["auto"]
        loss = "-" if "error" in auto else f"{100 * (best - auto['agreement']):.2f}"
        name = "refused" if "error" in auto else f"{auto['chosen']} {auto['agreement']:.2%}"
        lines.append(f"| {row['net']} | {row['target']} | {row['handicap']} | {' | '.join(cells)} | {name} | {loss} |")
    return lines


def _speed_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| tool | images | tensors | calibration s | rounding s | process s | peak GiB |", "|---|" + "---|" * 6]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['tool']} | {row['images']} | {row['error']} | | | | |")
            continue
        rounding = f"{row['rounding_s']:.1f}" if "rounding_s" in row else "-"
        lines.append(
            f"| {row['tool']} | {row['images']} | {row['tensors']} | {row['calibration_s']:.1f} | {rounding} | "
            f"{row['seconds']:.1f} | {row['peak_gib']:.2f} |"
        )
    return lines


def _latency_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| batch | fp32 ms | int8 ms | fp32 / int8 |", "|---|---|---|---|"]
    lines += [f"| {r['batch']} | {r['fp32_ms']:.1f} | {r['int8_ms']:.1f} | {r['ratio']:.2f} |" for r in rows]
    return lines


_TABLES: dict[str, Callable[[list[dict[str, Any]]], list[str]]] = {
    "accuracy": _accuracy_table,
    "robustness": _robustness_table,
    "speed": _speed_table,
    "latency": _latency_table,
}


if __name__ == "__main__":
    sys.exit(main())
