"""Every arithmetic of this CPU: FP32, FP16 and INT8 artifacts on ONNX Runtime and OpenVINO, and what each changes.

    python benchmarks/cpu.py [--nets NAME,...] [--seconds S] [--rounds N] [--keep DIR] [--out FILE.md] [--quick]

All contenders of a model take turns in one run on the same input, one image at a time. Peers are plain scripts: ONNX
Runtime and OpenVINO on the graph of torch.onnx.export, and OpenVINO on that graph quantized by NNCF (where that is
installed). "Equal" is the share of labels (classification) or pixels (segmentation) equal to our FP32 on ONNX Runtime,
over images that nothing was calibrated on. The weights of the ImageNet models are random: theirs says little. The last
table has the trained models, with the drop of their metric. Images and trained weights lie in ../shared.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from contest import peers
from contest.ledger import write_text
from contest.setting import SHARED, made, say
from contest.table import Table
from contest.turns import Call, Times, in_turns, ratio
from numpy.typing import NDArray

from hrnet_deploy import Predictor, export
from hrnet_deploy.evaluation import Drop, compare
from hrnet_deploy.export.agreement import AgreementError
from hrnet_deploy.system.load_snapshot import describe, take_snapshot, warnings

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
_CALIBRATION_IMAGES = (8, 32)  # random weights answer no better after more
_EQUAL_IMAGES = 24


@dataclasses.dataclass(frozen=True)
class Net:
    """A model of the table.

    Attributes:
        variant: architecture.
        size_hw: (height, width) of the input.
        weights: trained checkpoint; None for random weights.
        calibration: folder of images for INT8.
        images: folder of other images.
    """

    variant: str
    size_hw: tuple[int, int]
    weights: Path | None
    calibration: Path
    images: Path

    @property
    def name(self) -> str:
        """Its row's name."""
        return f"{'trained ' if self.weights else ''}{self.variant} {self.size_hw[0]}x{self.size_hw[1]}"


_IMAGENET = SHARED / "data" / "imagenet"
_CITY = SHARED / "data" / "street" / "leftImg8bit"
NETS = (
    *(
        Net(variant, (224, 224), None, _IMAGENET / "calib", _IMAGENET / "val")
        for variant in ("hrnet_w18_small_v2", "hrnet_w18", "hrnet_w48")
    ),
    *(
        Net("hrnetv2_w18_small_v1", size_hw, STREET, _CITY / "train", _CITY / "val")
        for size_hw in ((360, 480), (512, 1024))
    ),
)


def artifact(net: Net, precision: str, folder: Path) -> Path:
    """Ours, exported once."""
    options: dict[str, Any] = {}
    if precision == "int8":
        options = {
            "keep_rejected": True,
            "calib_data": net.calibration,
            "calib_images": _CALIBRATION_IMAGES[net.weights is not None],
        }
    weights = net.weights or peers.checkpoint(net.variant, folder)

    def make(path: Path) -> None:
        say(f"exports {net.name} {precision}")
        with contextlib.suppress(AgreementError):  # random weights answer at random
            export(net.variant, weights=str(weights), precision=precision, imgsz=net.size_hw, output=path, **options)

    height, width = net.size_hw
    return made(folder / f"{net.variant}-{height}x{width}-{precision}.onnx", make)


def plain(net: Net, folder: Path) -> Path:
    """What torch.onnx.export makes of the same weights."""
    weights = net.weights
    if weights is None:
        return peers.plain_onnx(net.variant, net.size_hw, folder)
    import torch

    def make(path: Path) -> None:
        from hrnet_deploy.models.network import build_network
        from hrnet_deploy.models.variants import find_variant

        model = build_network(find_variant(net.variant), 19).eval()
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        names: dict[str, Any] = {
            "input_names": ["input"],
            "output_names": ["logits"],
            "dynamic_axes": {"input": {0: "n"}},
        }
        torch.onnx.export(model, (torch.zeros(2, 3, *net.size_hw),), str(path), dynamo=False, opset_version=18, **names)

    height, width = net.size_hw
    return made(folder / f"{net.variant}-{height}x{width}-plain.onnx", make)


def batches(net: Net, count: int, predictor: Predictor) -> list[NDArray[np.float32]]:
    """Network inputs of real images, float32 (1, 3, height, width)."""
    from hrnet_deploy.imaging.sources import read_frame
    from hrnet_deploy.processing.preprocess import Preprocessor

    files = sorted(path for path in net.images.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    prepare = Preprocessor(predictor.card.preprocessing)
    return [prepare(read_frame(path.read_bytes(), path.name).image)[None] for path in files[:count]]


def contenders(net: Net, folder: Path) -> dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]]:
    """Everyone, as a function from the input to scores; who cannot be set up is left out with a line on stderr."""
    found: dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]] = {}
    for name, (precision, backend) in OURS.items():
        predictor = Predictor(artifact(net, precision, folder), device="cpu", backend=backend)
        label = name if name == BASE else f"{name} ({predictor.backend}, {predictor.arithmetic})"
        found[label] = functools.partial(_scores, predictor)
    source = plain(net, folder)
    found[_FLOAT32[0]] = _plain_session(source)
    found[_FLOAT32[1]] = _plain_openvino(source, net, "f32")
    found["plain script, OpenVINO bf16"] = _plain_openvino(source, net, "bf16")
    if importlib.util.find_spec("nncf") is not None:
        predictor = Predictor(artifact(net, "fp32", folder), device="cpu", backend="onnxruntime")
        images = [array[0] for array in batches(dataclasses.replace(net, images=net.calibration), 32, predictor)]
        quantized = peers.quantised_openvino(source, images)
        for rest in ("f32", "bf16"):
            found[f"NNCF INT8, rest {rest}"] = _plain_openvino(quantized, net, rest)
    else:
        say("NNCF is not installed: its rows are left out")
    return found


def _scores(predictor: Predictor, array: NDArray[np.float32]) -> NDArray[Any]:
    return next(iter(predictor.infer(array).values()))


def _plain_session(path: Path) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda array: session.run(None, {"input": array})[0]


def _plain_openvino(path: Path, net: Net, hint: str) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    from hrnet_deploy.engines.openvino.runtime import load_openvino

    core = load_openvino().Core()
    model = core.read_model(str(path))
    model.reshape([1, 3, *net.size_hw])
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint})
    request = compiled.create_infer_request()
    return lambda array: np.array(request.infer({0: array}, share_inputs=True)[0])


def measure(net: Net, folder: Path, *, seconds: float, rounds: int, images: int) -> Table:
    """One model: everyone's time, its ratio to our FP32 on ONNX Runtime, and what it changes."""
    calls = contenders(net, folder)
    inputs = batches(net, images, Predictor(artifact(net, "fp32", folder), device="cpu", backend="onnxruntime"))
    say(f"{net.name}: compares {len(inputs)} images")
    labels = {name: [np.argmax(call(array), 1) for array in inputs] for name, call in calls.items()}
    say(f"{net.name}: times {len(calls)} contenders")
    timed: dict[str, Call] = {name: functools.partial(call, inputs[0]) for name, call in calls.items()}
    times = in_turns(timed, seconds=seconds, least=rounds)
    table = Table(net.name, ("contender", "ms", "times as fast as our FP32 on ONNX Runtime", "equal", "rounds"))
    for name, taken in times.items():
        equal = np.mean([np.mean(a == b) for a, b in zip(labels[name], labels[BASE], strict=True)])
        gain = ratio(times[BASE], taken)
        table.rows.append(
            (name, f"{1e3 * statistics.median(taken):.1f}", f"{gain:.2f}", f"{equal:.2%}", str(len(taken)))
        )
    table.notes.append(_fastest_float32(times))
    return table


def _fastest_float32(times: Times) -> str:
    ours = next(name for name in times if name.startswith("ours FP32, auto"))
    best = min(_FLOAT32, key=lambda name: statistics.median(times[name]))
    return f"FP32 of ours against the faster plain script ({best}): {ratio(times[best], times[ours]):.2f}"


def accuracy(folder: Path) -> Table:
    """The trained models: what half precision and INT8 lose on labelled images, on OpenVINO."""
    table = Table(
        "Accuracy of the trained models, on OpenVINO",
        ("model", "artifact", "arithmetic", "images", "metric", "drop in points (95 % interval)", "equal"),
    )
    street = next(net for net in NETS if net.weights)
    photos = Net("hrnet_w18_small_v1", (64, 64), PHOTOS, SHARED / "data/photos/train", SHARED / "data/photos/val")
    for net, data in ((street, SHARED / "data/street"), (photos, SHARED / "data/photos/val")):
        paths = [artifact(net, precision, folder) for precision in ("fp32", "fp16", "int8")]
        say(f"{net.name}: evaluates {len(paths)} artifacts")
        found = compare(paths[0], paths[1:], data, device="cpu", backend="openvino", batch=4)
        for evaluation, contrast in [(found.reference, None), *((one.evaluation, one) for one in found.candidates)]:
            drop = "reference" if contrast is None else _points(contrast.drop)
            equal = "-" if contrast is None else f"{contrast.agreement:.2%}"
            model = evaluation.model
            cells = (net.name, model.card.precision.value, model.arithmetic, str(evaluation.data.images))
            table.rows.append((*cells, f"{evaluation.metrics.name} {evaluation.metrics.value:.2%}", drop, equal))
    return table


def _points(drop: Drop) -> str:
    interval = "" if drop.low is None or drop.high is None else f" ({drop.low:.2f} to {drop.high:.2f})"
    return f"{drop.points:.2f}{interval}"


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", help="parts of the names of the models, by comma (default: all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for one model (default: 20)")
    parser.add_argument("--rounds", type=int, default=7, help="at least (default: 7)")
    parser.add_argument("--keep", type=Path, help="folder for exported files (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="Markdown to write")
    parser.add_argument("--quick", action="store_true", help="one model and few images: shows that it works")
    args = parser.parse_args()
    if not STREET.is_file():
        sys.exit(f"needs images and trained weights in {SHARED}")
    words = args.nets.split(",") if args.nets else [""]
    nets = [net for net in NETS if any(word in net.name for word in words)][: 1 if args.quick else None]
    before = take_snapshot()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for net in nets:
            for precision in ("fp32", "fp16", "int8"):
                artifact(net, precision, folder)
        tables = [
            measure(
                net,
                folder,
                seconds=1 if args.quick else args.seconds,
                rounds=1 if args.quick else args.rounds,
                images=4 if args.quick else _EQUAL_IMAGES,
            )
            for net in nets
        ]
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
