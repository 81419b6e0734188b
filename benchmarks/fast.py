"""Ours against what a user would pick instead, in turns within one process: nets, streams, segmentation, start, memory.

    python benchmarks/fast.py [--only nets,streams,...] [--nets NAME,...] [--seconds S] [--quick] [--no-compile]
                              [--data DIR] [--out FILE.md] [--json]

Weights are random, which cost the same as trained ones. Every table gives medians of calls taken in turns, and the
median of the pairwise ratios: theirs over ours, so above 1 we are faster. A contender that fails is a line of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy import Predictor, export
from hrnet_deploy.benchmark.machine import describe, look
from hrnet_deploy.cli import predict as predict_command
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.probe import probe_images
from hrnet_deploy.progress import bar
from hrnet_deploy.spec import Task

SECTIONS = ("nets", "streams", "segmentation", "start", "memory")
NETS = {
    "hrnet_w18_small_v2": (224, 224),
    "hrnet_w18": (224, 224),
    "hrnet_w48": (224, 224),
    "hrnetv2_w18_small_v1": (512, 1024),
    "hrnetv2_w18_small_v2": (512, 1024),
}
QUICK_NETS = ("hrnet_w18_small_v2",)
SHARED = Path(__file__).resolve().parents[2] / "shared"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CALIBRATION_IMAGES = 8
_LEAST_ROUNDS = 3

Call = Callable[[], Any]


@dataclass
class Table:
    """One table of the report.

    Attributes:
        title: of it.
        columns: their heads.
        rows: of cells.
        notes: lines below.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"## {self.title}", "", "| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"


@dataclass(frozen=True)
class Setting:
    """What a run was asked for.

    Attributes:
        folder: for files.
        data: folder of JPEGs.
        seconds: for one group of contenders.
        quick: as little as shows that it works.
        compiled: whether torch.compile takes part.
    """

    folder: Path
    data: Path
    seconds: float
    quick: bool
    compiled: bool

    def jpegs(self, count: int) -> list[Path]:
        """Some pictures, repeated where there are fewer."""
        found = sorted(p for p in self.data.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
        return [found[index % len(found)] for index in range(count)]

    def artefact(self, variant: str, precision: str, imgsz: tuple[int, int], **options: Any) -> Path:
        """Ours, exported once."""
        path = self.folder / f"{variant}-{precision}-{imgsz[0]}x{imgsz[1]}-{'-'.join(options)}.onnx"
        if not path.exists():
            if precision == "int8":
                given = {"calib_data": self.data, "calib_images": _CALIBRATION_IMAGES, "calib_method": "minmax"}
                options |= given | {"allow_val": True}
            export(variant, weights="random", precision=precision, imgsz=imgsz, output=path, **options)
        return path


def in_turns(calls: dict[str, Call], setting: Setting) -> dict[str, list[float]]:
    """Seconds of each call, A B C A B C ...; one round beforehand is not counted."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    least = 1 if setting.quick else _LEAST_ROUNDS
    while time.perf_counter() - began < setting.seconds or min(map(len, times.values()), default=least) < least:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


# Contenders ---------------------------------------------------------------------------------------------------------


_KEPT: list[Any] = []
"""What torch would forget with the last reference."""


def _untyped(name: str) -> Any:
    """A module whose types say too little."""
    return importlib.import_module(name)


def has_openvino_plugin() -> bool:
    """Whether ours can run on OpenVINO."""
    return importlib.util.find_spec("onnxruntime_ep_openvino") is not None


def by_pillow(content: bytes, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """What torchvision's evaluation transforms do: resize the short side to 8/7, crop the centre, normalise."""
    from PIL import Image

    picture = Image.open(io.BytesIO(content)).convert("RGB")
    height, width = size_hw
    if height == width:
        scale = int(height / 0.875) / min(picture.size)
        wide, high = (round(side * scale) for side in picture.size)
        left, top = (wide - width) // 2, (high - height) // 2
        resized = picture.resize((wide, high), Image.Resampling.BILINEAR).crop((left, top, left + width, top + height))
    else:
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = (np.asarray(resized, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def torch_net(variant: str) -> Any:
    """The net of that name in timm, or our reference model where timm has none (segmentation)."""
    torch = _untyped("torch")

    torch.manual_seed(0)
    chosen = find_variant(variant)
    if chosen.task is Task.CLASSIFICATION:
        if importlib.util.find_spec("torchvision") is not None:
            # A torchvision built for another torch lacks these, and timm cannot be imported then.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                with contextlib.suppress(RuntimeError):
                    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEPT.append(library)
        return _untyped("timm").create_model(variant, pretrained=False).eval()
    from hrnet_deploy.models.network import build_network

    return build_network(chosen, chosen.default_num_classes).eval()


def plain_onnx(net: Any, path: Path, size_hw: tuple[int, int]) -> Path:
    """The script of a tutorial: torch.onnx.export with an open batch, nothing else."""
    import torch

    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (torch.zeros(2, 3, *size_hw),),
                str(path),
                dynamo=False,
                opset_version=18,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
            )
    return path


def plain_session(path: Path) -> Callable[[NDArray[np.float32]], Any]:
    """ONNX Runtime as its own README opens it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"input": batch})


def openvino_net(path: Path, shape: tuple[int, ...], images: list[NDArray[np.float32]] | None) -> Callable[..., Any]:
    """OpenVINO itself with a fixed shape; quantised by NNCF where images are given."""
    openvino = _untyped("openvino")
    core = openvino.Core()
    model = core.read_model(str(path))
    if images is not None:
        nncf = _untyped("nncf")
        nncf.set_log_level(40)
        model = nncf.quantize(model, nncf.Dataset([image[None] for image in images]), subset_size=len(images))
    model.reshape(shape)
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    return lambda batch: request.infer({0: batch}, share_inputs=True)


def ort_static(path: Path, images: list[NDArray[np.float32]]) -> Path:
    """ONNX Runtime's own static quantisation, with its defaults."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # no types there
        def __init__(self) -> None:
            self.left: Iterator[dict[str, NDArray[np.float32]]] = ({"input": image[None]} for image in images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.left, None)

    output = path.with_suffix(".static.onnx")
    if not output.exists():
        quantize_static(str(path), str(output), Reader())
    return output


# Sections -----------------------------------------------------------------------------------------------------------


def contenders(
    setting: Setting, variant: str, size_hw: tuple[int, int], precision: str, batch: int, failures: list[str]
) -> dict[str, Call]:
    """Everyone for one net, precision and batch; who cannot be set up is noted and left out."""
    files = setting.jpegs(max(batch, _CALIBRATION_IMAGES))
    contents = [file.read_bytes() for file in files]
    rows = [by_pillow(content, size_hw) for content in contents]
    array = np.stack(rows[:batch])
    calls: dict[str, Call] = {}

    def add(name: str, make: Callable[[], Call]) -> None:
        try:
            call = make()
            call()
        except Exception as error:  # noqa: BLE001 - one contender less
            failures.append(f"{variant} {precision} batch {batch}, {name}: {type(error).__name__}: {str(error)[:160]}")
        else:
            calls[name] = call

    def ours(backend: str, *, whole: bool) -> Call:
        predictor = Predictor(setting.artefact(variant, precision, size_hw), device="cpu", backend=backend)
        if not whole:
            return lambda: predictor.infer(array)
        return lambda: predictor.predict(contents[:batch] if batch > 1 else contents[0], batch=batch)

    backends = ["onnxruntime"] + (["openvino"] if has_openvino_plugin() else [])
    for backend in backends:
        add(f"ours, {backend}", lambda b=backend: ours(b, whole=False))  # type: ignore[misc]
    for backend in backends:
        add(f"ours, {backend}, from JPEG", lambda b=backend: ours(b, whole=True))  # type: ignore[misc]

    plain = setting.folder / f"{variant}-plain.onnx"

    def plain_file() -> Path:
        return plain if plain.exists() else plain_onnx(torch_net(variant), plain, size_hw)

    if precision == "int8":
        add("ONNX Runtime quantize_static", lambda: _of(plain_session(ort_static(plain_file(), rows)), array))
        add("OpenVINO + NNCF", lambda: _of(openvino_net(plain_file(), array.shape, rows), array))
        return calls
    add("plain script, ONNX Runtime", lambda: _of(plain_session(plain_file()), array))
    add("OpenVINO", lambda: _of(openvino_net(plain_file(), array.shape, None), array))
    add("torch eager", lambda: _eager(variant, array))
    add("torch eager, from JPEG", lambda: _eager_whole(variant, contents[:batch], size_hw))
    if setting.compiled:
        add("torch.compile", lambda: _compiled(variant, array))
    return calls


def _of(run: Callable[[NDArray[np.float32]], Any], array: NDArray[np.float32]) -> Call:
    return lambda: run(array)


def _eager(variant: str, array: NDArray[np.float32]) -> Call:
    import torch

    net, tensor = torch_net(variant), torch.from_numpy(array)

    def call() -> None:
        with torch.inference_mode():
            net(tensor)

    return call


def _eager_whole(variant: str, contents: list[bytes], size_hw: tuple[int, int]) -> Call:
    import torch

    net, classifies = torch_net(variant), find_variant(variant).task is Task.CLASSIFICATION

    def call() -> None:
        tensor = torch.from_numpy(np.stack([by_pillow(content, size_hw) for content in contents]))
        with torch.inference_mode():
            logits = net(tensor)
            if not classifies:
                logits = torch.nn.functional.interpolate(logits, size=size_hw, mode="bilinear")
            logits.softmax(1).argmax(1) if classifies else logits.argmax(1)

    return call


def _compiled(variant: str, array: NDArray[np.float32]) -> Call:
    torch = _untyped("torch")
    net, tensor = torch.compile(torch_net(variant), dynamic=False), torch.from_numpy(array)

    def call() -> None:
        with torch.inference_mode():
            net(tensor)

    return call


def nets(setting: Setting, names: list[str]) -> Table:
    """Engine only and from JPEG bytes, against every peer."""
    table = Table(
        "Nets",
        ("net", "precision", "batch", "contender", "ms an image", "theirs / our engine", "theirs / ours from JPEG"),
    )
    for name in bar(names, desc="nets"):
        fastest: dict[tuple[str, int], float] = {}
        for precision in ("fp32", "int8"):
            for batch in (1,) if setting.quick else (1, 8):
                calls = contenders(setting, name, NETS[name], precision, batch, table.notes)
                times = in_turns(calls, setting)
                engines = [n for n in times if n.startswith("ours") and "JPEG" not in n]
                best = min(engines, key=lambda n: statistics.median(times[n]), default=None)
                whole = f"{best}, from JPEG"
                for contender, taken in times.items():
                    over = "-" if best is None else f"{ratio(taken, times[best]):.2f}"
                    from_jpeg = f"{ratio(taken, times[whole]):.2f}" if whole in times and "JPEG" in contender else "-"
                    median = statistics.median(taken)
                    cells = (name, precision, str(batch), contender, f"{1e3 * median / batch:.2f}", over, from_jpeg)
                    table.rows.append(cells)
                for backend in engines:
                    fastest[backend + precision, batch] = statistics.median(times[backend])
                    base = fastest.get(("ours, onnxruntimefp32", batch))
                    if precision == "int8" and base is not None:
                        gain = base / fastest[backend + precision, batch]
                        table.notes.append(f"{name} batch {batch}: INT8 by {backend[6:]} is {gain:.2f} x our FP32")
    return table


def streams(setting: Setting, names: list[str]) -> Table:
    """A folder of JPEGs, streamed and by hrnet-predict, against the engine alone on as many images."""
    table = Table("Streams", ("net", "precision", "images", "way", "ms an image", "over the engine alone"))
    count = 16 if setting.quick else 200
    folder = setting.folder / "stream"
    folder.mkdir(exist_ok=True)
    for index, file in enumerate(setting.jpegs(count)):
        (folder / f"{index:03}.jpg").write_bytes(file.read_bytes())
    contents = [file.read_bytes() for file in sorted(folder.iterdir())]
    for name in bar([n for n in names if NETS[n][0] == NETS[n][1]], desc="streams"):
        for precision in ("fp32", "int8"):
            try:
                path = setting.artefact(name, precision, NETS[name])
                predictor = Predictor(path, device="cpu")
                array = np.stack([by_pillow(content, NETS[name]) for content in contents[:8]])
                words = [str(path), str(folder), "--batch", "8", "--device", "cpu", "-q"]
                calls: dict[str, Call] = {
                    "engine alone": functools.partial(_engine, predictor, array, count // 8),
                    "JPEG bytes, predict(stream=True)": functools.partial(_streamed, predictor, contents),
                    "folder, predict(stream=True)": functools.partial(_streamed, predictor, folder),
                    "hrnet-predict, opening included": functools.partial(_command, words),
                }
                times = in_turns(calls, setting)
            except Exception as error:  # noqa: BLE001 - one net less
                table.notes.append(f"{name} {precision}: {type(error).__name__}: {str(error)[:160]}")
                continue
            for way, taken in times.items():
                over = ratio(taken, times["engine alone"])
                each = f"{1e3 * statistics.median(taken) / count:.2f}"
                table.rows.append((name, precision, str(count), f"{way} ({predictor.backend})", each, f"{over:.3f}"))
    return table


def _engine(predictor: Predictor, array: NDArray[np.float32], count: int) -> None:
    for _ in range(count):
        predictor.infer(array)


def _streamed(predictor: Predictor, source: Any) -> None:
    for _ in predictor.predict(source, stream=True, batch=8):
        pass


def _command(words: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        predict_command.run(predict_command.parse_args(words))


def segmentation(setting: Setting, names: list[str]) -> Table:
    """Pixels in and labels out against the plain path, at 1024x2048."""
    table = Table("Segmentation at 1024x2048", ("net", "path", "MB in", "MB out", "ms an image", "plain / it"))
    size_hw = (256, 512) if setting.quick else (1024, 2048)
    image = probe_images(1, size_hw)[0]
    for name in [n for n in names if find_variant(n).task is Task.SEGMENTATION][:1] or ["hrnetv2_w18_small_v1"]:
        ends = {"pixels_in": True, "labels_out": True}
        plain = Predictor(setting.artefact(name, "fp32", size_hw), device="cpu")
        short = Predictor(setting.artefact(name, "fp32", size_hw, **ends), device="cpu")
        ways = {"floats in, logits out": plain, "pixels in, labels out": short}
        times = in_turns({way: lambda p=p: p.predict(image) for way, p in ways.items()}, setting)  # type: ignore[misc]
        for way, predictor in ways.items():
            spec = predictor.card.inputs[0]
            shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
            feed: NDArray[Any] = np.zeros(shape, spec.dtype)
            out = sum(array.nbytes for array in predictor.infer(feed).values())
            cells = (f"{feed.nbytes / 1e6:.1f}", f"{out / 1e6:.1f}", f"{1e3 * statistics.median(times[way]):.0f}")
            table.rows.append((name, way, *cells, f"{ratio(times['floats in, logits out'], times[way]):.2f}"))
        same = float(np.mean(plain.predict(image).mask == short.predict(image).mask))
        table.notes.append(f"{name}: {same:.4%} of the pixels alike at {size_hw[0]}x{size_hw[1]} (99.9 % wanted)")
    return table


def child(script: str, *words: str) -> dict[str, float]:
    """What a script prints last as JSON, run in a fresh interpreter, and its peak resident set in MiB."""
    ending = (
        "\nimport re as _re\n_hwm = _re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())\n"
        "import json as _json\nprint(_json.dumps({'mib': int(_hwm[1]) / 1024 if _hwm else 0.0}))\n"
    )
    environment = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script + ending, *words], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    values: dict[str, float] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            values |= json.loads(line)
    return values


_START = """
import sys, time
marks = {}
began = time.perf_counter()
def mark(name):
    global began
    marks[name] = 1e3 * (time.perf_counter() - began)
    began = time.perf_counter()
if sys.argv[1] == "floor":
    import numpy, cv2
    mark("import numpy, cv2")
else:
    import hrnet_deploy
    mark("import hrnet_deploy")
    from hrnet_deploy import Predictor
    mark("... its Predictor (numpy, cv2)")
    predictor = Predictor(sys.argv[1], device="cpu")
    mark("Predictor(path), the runtime's import included")
    predictor.predict(sys.argv[2])
    mark("first prediction")
    predictor.predict(sys.argv[2])
    mark("second prediction")
import json
print(json.dumps(marks))
"""


def start(setting: Setting, names: list[str]) -> Table:
    """From nothing to the first answer, each in fresh interpreters."""
    table = Table("Start", ("net", "precision", "step", "ms (median)"))
    picture = str(setting.jpegs(1)[0])
    rounds = 1 if setting.quick else 7
    asked = [("floor", "-", "floor")] + [
        (name, precision, str(setting.artefact(name, precision, NETS[name])))
        for name in names[:1]
        for precision in ("fp32", "int8")
    ]
    for name, precision, word in asked:
        found = [child(_START, word, picture) for _ in range(rounds)]
        for step in found[0]:
            if step != "mib":
                table.rows.append((name, precision, step, f"{statistics.median(f[step] for f in found):.0f}"))
    return table


_PREDICT = """
import sys
from hrnet_deploy import Predictor
for _ in Predictor(sys.argv[1], device="cpu").predict(sys.argv[2], stream=True, batch=int(sys.argv[3])): pass
"""
_EXPORT = """
import sys
from hrnet_deploy import export
export(sys.argv[1], weights="random", imgsz=sys.argv[2], output=sys.argv[3])
"""
_CALIBRATE = """
import sys
from hrnet_deploy import export
export(sys.argv[1], weights="random", imgsz=sys.argv[2], output=sys.argv[3], precision="int8", calib_data=sys.argv[4],
       calib_images=64, allow_val=True)
"""
_EVALUATE = """
import sys
from hrnet_deploy.evaluation import evaluate
evaluate(sys.argv[1], sys.argv[2], limit=64, batch=8, device="cpu")
"""


def memory(setting: Setting, names: list[str]) -> Table:
    """Peak resident set of each thing a user does, each in a process of its own."""
    table = Table("Memory", ("what", "net", "peak MiB"))
    name = names[0]
    size = "{}x{}".format(*NETS[name])
    folder, made = str(setting.data), str(setting.folder / "memory.onnx")
    asked: list[tuple[str, str, str, tuple[str, ...]]] = [
        ("export", name, _EXPORT, (name, size, made)),
        ("predict a folder, batch 8", name, _PREDICT, (made, str(_some(setting)), "8")),
        ("calibrate and export INT8, 64 images", name, _CALIBRATE, (name, size, made, folder)),
    ]
    if SHARED.is_dir():
        ten = SHARED / "weights" / "hrnet_w18_small_v1_photos10.safetensors"
        labelled = setting.folder / "photos10.onnx"
        with contextlib.suppress(Exception):  # the row below then says what is missing
            export(weights=ten, classes=ten.with_name("photos10.txt"), imgsz=64, resize="squash", output=labelled)
        asked.append(
            ("evaluate, batch 8", "hrnet_w18_small_v1", _EVALUATE, (str(labelled), str(SHARED / "data" / "photos")))
        )
    if not setting.quick:
        asked.append(("export", "hrnet_w64", _EXPORT, ("hrnet_w64", "224", made)))
        asked.append(("export at 1024x2048", "hrnetv2_w48", _EXPORT, ("hrnetv2_w48", "1024x2048", made)))
        picture = setting.folder / "street.png"
        cv2.imwrite(str(picture), probe_images(1, (1024, 2048))[0])
        asked.append(("predict at 1024x2048", "hrnetv2_w48", _PREDICT, (made, str(picture), "1")))
    for what, net, script, words in bar(asked, desc="memory"):
        try:
            table.rows.append((what, net, f"{child(script, *words)['mib']:.0f}"))
        except RuntimeError as error:  # noqa: PERF203 - one row less
            table.notes.append(f"{what}, {net}: {error}")
    return table


def _some(setting: Setting) -> Path:
    """A folder of pictures."""
    folder = setting.folder / "some"
    folder.mkdir(exist_ok=True)
    for index, file in enumerate(setting.jpegs(32)):
        (folder / f"{index:03}.jpg").write_bytes(file.read_bytes())
    return folder


def made_photos(folder: Path) -> Path:
    """Synthetic JPEGs of a camera picture's size, where there are no real ones."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(probe_images(16, (375, 500))):
        cv2.imwrite(str(folder / f"{index:03}.jpg"), image)
    return folder


def main() -> int:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma (default: all)")
    parser.add_argument("--nets", help="by comma (default: all five)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for one group of contenders (default: 10)")
    parser.add_argument("--quick", action="store_true", help="one net, batch 1, few calls: shows that it works")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument(
        "--data",
        type=Path,
        default=SHARED / "data" / "imagenet",
        help="folder of JPEGs; synthetic ones where there is none",
    )
    parser.add_argument("--out", type=Path, help="write the Markdown there as well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    names = list(args.nets.split(",")) if args.nets else list(QUICK_NETS if args.quick else NETS)
    before, began = look(), time.perf_counter()
    tables: list[Table] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = args.data if args.data.is_dir() else made_photos(folder / "photos")
        seconds = min(args.seconds, 1.0) if args.quick else args.seconds
        setting = Setting(folder, data, seconds, args.quick, compiled=not (args.no_compile or args.quick))
        makers = {"nets": nets, "streams": streams, "segmentation": segmentation, "start": start, "memory": memory}
        for section in args.only.split(","):
            try:
                tables.append(makers[section](setting, names))
            except Exception as error:  # noqa: BLE001, PERF203 - the other sections still count
                note = f"{type(error).__name__}: {str(error)[:200]}"
                tables.append(Table(section.capitalize(), ("failed",), [(note,)]))
    facts = [*describe(before, look()), f"{time.perf_counter() - began:.0f} s for {' '.join(sys.argv[1:]) or 'all'}"]
    text = "# Fast\n\n" + "\n".join(f"- {fact}" for fact in facts) + "\n\n"
    text += "\n".join(table.markdown() for table in tables)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")
    print(json.dumps({"machine": facts, "tables": [vars(t) for t in tables]}, indent=2) if args.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
