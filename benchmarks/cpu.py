"""Every arithmetic of this CPU: FP32, FP16 and INT8 artifacts on ONNX Runtime and OpenVINO, and what each changes.

    python benchmarks/cpu.py [--models NAME,...] [--seconds S] [--keep DIR] [--out FILE.md] [--quick]

All contenders of a model are interleaved in one run on the same input, one image at a time. Baselines are plain
scripts: ONNX Runtime and OpenVINO on the graph of torch.onnx.export, and OpenVINO on that graph quantized by NNCF
(where that is installed). "Equal" is the share of labels (classification) or pixels (segmentation) equal to our FP32 on
ONNX Runtime, over images that nothing was calibrated on. The weights of the ImageNet models are random, so their shares
mean little. The last table has the trained models, with the drop of their metric. Data lie in ../shared.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from comparison import baselines
from comparison.config import SHARED, Config, log
from comparison.interleave import ratio, time_rounds
from comparison.report import write_text
from comparison.table import Table, script_parser
from numpy.typing import NDArray

from hrnet_deploy import Predictor
from hrnet_deploy.evaluation import Drop, compare
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.system.load_snapshot import describe, take_snapshot, warnings

Scores = Callable[[NDArray[np.float32]], NDArray[Any]]

STREET = SHARED / "weights" / "hrnetv2_w18_small_v1_street.pth"
PHOTOS = SHARED / "weights" / "hrnet_w18_small_v1_photos10.safetensors"
BASE = "ours FP32, onnxruntime"
OURS = {
    BASE: ("fp32", "onnxruntime"),
    "ours FP32, auto": ("fp32", "auto"),
    "ours FP16, auto": ("fp16", "auto"),
    "ours INT8, onnxruntime": ("int8", "onnxruntime"),
    "ours INT8, auto": ("int8", "auto"),
}
_FLOAT32 = ("plain script, ONNX Runtime", "plain script, OpenVINO f32")
_CALIBRATION_IMAGES = (8, 32)  # random weights gain nothing from more
_EQUAL_IMAGES = 24


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the table, with folders of images for INT8 and of others; without a checkpoint, weights are random."""

    variant: str
    size_hw: tuple[int, int]
    weights: Path | None
    calibration: Path
    images: Path

    @property
    def name(self) -> str:
        """Name of the model's row."""
        return f"{'trained ' if self.weights else ''}{self.variant} {self.size_hw[0]}x{self.size_hw[1]}"

    def place(self, folder: Path) -> Path:
        """Return the folder of its files, which other scripts share where weights are random."""
        return folder / "trained" if self.weights else folder


_IMAGENET = SHARED / "data" / "imagenet"
_CITY = SHARED / "data" / "street" / "leftImg8bit"
_SCENES_HW = ((360, 480), (512, 1024))
_CLASSIFIERS = ("hrnet_w18_small_v2", "hrnet_w18", "hrnet_w48")
MODELS = (
    *(Model(name, (224, 224), None, _IMAGENET / "calib", _IMAGENET / "val") for name in _CLASSIFIERS),
    *(Model("hrnetv2_w18_small_v1", size, STREET, _CITY / "train", _CITY / "val") for size in _SCENES_HW),
)


def artifact(model: Model, precision: str, folder: Path) -> Path:
    """Export our artifact once."""
    config = Config(model.place(folder), model.calibration, 0.0, quick=False, compiled=frozenset())
    weights = model.weights or baselines.checkpoint(model.variant, folder)
    options: dict[str, Any] = {}
    if precision == "int8":
        images = _CALIBRATION_IMAGES[model.weights is not None]
        options = {"calib_images": images, "calib_method": "entropy", "allow_val": False}
    return config.artifact(model.variant, precision, model.size_hw, weights, **options)


def batches(model: Model, count: int, predictor: Predictor) -> list[NDArray[np.float32]]:
    """Preprocess real images, each float32 (1, 3, height, width)."""
    files = sorted(path for path in model.images.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    preprocess = Preprocessor(predictor.card.preprocessing)
    return [preprocess(read_frame(path.read_bytes(), path.name).image)[None] for path in files[:count]]


def contenders(model: Model, folder: Path) -> dict[str, Scores]:
    """Return a function from the input to scores for each contender."""
    found: dict[str, Scores] = {}
    for name, (precision, backend) in OURS.items():
        predictor = Predictor(artifact(model, precision, folder), device="cpu", backend=backend)
        label = name if name == BASE else f"{name} ({predictor.backend}, {predictor.arithmetic})"
        found[label] = functools.partial(_scores, predictor)
    source = baselines.plain_onnx(model.variant, model.size_hw, model.place(folder), model.weights)
    shape = (1, 3, *model.size_hw)
    found[_FLOAT32[0]] = baselines.plain_session(source)
    found[_FLOAT32[1]] = baselines.openvino_request(source, shape)
    found["plain script, OpenVINO bf16"] = baselines.openvino_request(source, shape, "bf16")
    if importlib.util.find_spec("nncf") is not None:
        predictor = Predictor(artifact(model, "fp32", folder), device="cpu", backend="onnxruntime")
        images = [array[0] for array in batches(dataclasses.replace(model, images=model.calibration), 32, predictor)]
        quantized = baselines.quantized_openvino(source, images)
        for rest in ("f32", "bf16"):
            found[f"NNCF INT8, rest {rest}"] = baselines.openvino_request(quantized, shape, rest)
    else:
        log("NNCF is not installed: its rows are left out")
    return found


def _scores(predictor: Predictor, array: NDArray[np.float32]) -> NDArray[Any]:
    return next(iter(predictor.infer(array).values()))


def measure(model: Model, folder: Path, *, seconds: float, images: int) -> Table:
    """Tabulate the time of each contender, its ratio to our FP32 on ONNX Runtime, and the share of equal outputs."""
    calls = contenders(model, folder)
    inputs = batches(model, images, Predictor(artifact(model, "fp32", folder), device="cpu", backend="onnxruntime"))
    log(f"{model.name}: compares {len(inputs)} images")
    labels = {name: [np.argmax(call(array), 1) for array in inputs] for name, call in calls.items()}
    log(f"{model.name}: times {len(calls)} contenders")
    times = time_rounds({name: functools.partial(call, inputs[0]) for name, call in calls.items()}, seconds=seconds)
    table = Table(model.name, ("contender", "ms", "times as fast as our FP32 on ONNX Runtime", "equal", "rounds"))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken in times.items():
        equal = np.mean([np.mean(a == b) for a, b in zip(labels[name], labels[BASE], strict=True)])
        figures = (f"{1e3 * medians[name]:.1f}", f"{ratio(times[BASE], taken):.2f}", f"{equal:.2%}")
        table.rows.append((name, *figures, str(len(taken))))
    ours, best = (
        next(name for name in times if name.startswith("ours FP32, auto")),
        min(_FLOAT32, key=lambda name: medians[name]),
    )
    over = f"{ratio(times[best], times[ours]):.2f}"
    table.notes.append(f"FP32 of ours against the faster plain script ({best}): {over}")
    return table


def accuracy(folder: Path) -> Table:
    """Tabulate what FP16 and INT8 of the trained models lose on labeled images, on OpenVINO."""
    table = Table(
        "Accuracy of the trained models, on OpenVINO",
        ("model", "artifact", "arithmetic", "images", "metric", "drop in points (95 % interval)", "equal"),
    )
    street = next(model for model in MODELS if model.weights)
    photos = Model("hrnet_w18_small_v1", (64, 64), PHOTOS, SHARED / "data/photos/train", SHARED / "data/photos/val")
    for model, data in ((street, SHARED / "data/street"), (photos, SHARED / "data/photos/val")):
        paths = [artifact(model, precision, folder) for precision in ("fp32", "fp16", "int8")]
        log(f"{model.name}: evaluates {len(paths)} artifacts")
        found = compare(paths[0], paths[1:], data, device="cpu", backend="openvino", batch=4)
        for evaluation, candidate in [(found.reference, None), *((one.evaluation, one) for one in found.candidates)]:
            drop = "reference" if candidate is None else _points(candidate.drop)
            equal = "-" if candidate is None else f"{candidate.agreement:.2%}"
            card, metrics = evaluation.model.card, evaluation.metrics
            cells = (model.name, card.precision.value, evaluation.model.arithmetic, str(evaluation.data.images))
            table.rows.append((*cells, f"{metrics.name} {metrics.value:.2%}", drop, equal))
    return table


def _points(drop: Drop) -> str:
    interval = "" if drop.low is None or drop.high is None else f" ({drop.low:.2f} to {drop.high:.2f})"
    return f"{drop.points:.2f}{interval}"


def main() -> int:
    """Measure and print the tables."""
    parser = script_parser(__doc__)
    parser.add_argument("--models", help="parts of the names of the models, by comma (default: all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for one model (default: 20)")
    parser.add_argument("--keep", type=Path, help="folder for exported files (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="Markdown to write")
    parser.add_argument("--quick", action="store_true", help="one model and few images: shows that it works")
    args = parser.parse_args()
    if not STREET.is_file():
        sys.exit(f"needs images and trained weights in {SHARED}")
    words = args.models.split(",") if args.models else [""]
    models = [model for model in MODELS if any(word in model.name for word in words)][: 1 if args.quick else None]
    before = take_snapshot()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for model in models:
            for precision in ("fp32", "fp16", "int8"):
                artifact(model, precision, folder)
        seconds, images = (1, 4) if args.quick else (args.seconds, _EQUAL_IMAGES)
        tables = [measure(model, folder, seconds=seconds, images=images) for model in models]
        if not args.quick:
            tables.append(accuracy(folder))
    facts = [*describe(before, take_snapshot()), *(f"warning: {line}" for line in warnings(before))]
    head = "\n".join(["# Every arithmetic of this CPU", "", *(f"- {line}" for line in facts), ""])
    text = "\n".join([head, *(table.markdown() for table in tables)])
    if args.out:
        write_text(args.out, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
