"""Inputs of small runs of all commands, each a second long, and the check of what they leave on the disk."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import numpy_helper

from hrnet_deploy import export
from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.integrity.inspect import inspect
from hrnet_deploy.integrity.verify import verify

CLASSES = 4
DEMO = Path(__file__).resolve().parents[2] / "demo"
CPU = ("--device", "cpu", "--backend", "onnxruntime")
_CONV = "Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
_BODY = f"a = {_CONV}(x, w0) b = Relu(a) c = {_CONV}(b, w1) d = Relu(c) e = {_CONV}(d, w2) f = Relu(e)"
_TAILS = {
    "source.onnx": (f"{CLASSES}", "p = GlobalAveragePool(f) y = Flatten(p)"),
    "masks_source.onnx": (f"{CLASSES}, 32, 32", "y = Identity(f)"),
}


def write_inputs(root):
    """Write foreign graphs, labeled images, a video, and artifacts of them; returns the folder."""
    for name, (shape, tail) in _TAILS.items():
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> '
            f"g (float[N, 3, 32, 32] x) => (float[N, {shape}] y) {{ {_BODY} {tail} }}"
        )
        random = np.random.default_rng(3)
        for index, channels in enumerate((3, CLASSES, CLASSES)):
            weights = random.normal(size=(CLASSES, channels, 3, 3)).astype(np.float32) / 4
            model.graph.initializer.append(numpy_helper.from_array(weights, f"w{index}"))
        onnx.save(model, root / name)
    for index, image in enumerate(synthetic_images(12, (40, 48))):
        for split in ("train", "val"):
            path = root / "data" / split / f"class{index % CLASSES}" / f"{split}{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.roll(image, index + 7 * (split == "val"), 0))
    video = cv2.VideoWriter(str(root / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 40))
    for image in synthetic_images(9, (40, 48)):
        video.write(image)
    video.release()
    images = root / "data/train"
    export(root / "source.onnx", task="classification", imgsz=32, output=root / "fp32.onnx")
    export(root / "fp32.onnx", precision="int8", calib_data=images, output=root / "int8.onnx")
    export(root / "masks_source.onnx", task="segmentation", imgsz=32, output=root / "masks.onnx")
    return root


def commands(root):
    """The words of every command that writes, by name; each writes into the folder it runs in."""
    data, images = root / "data", root / "data/val"
    source = ("export", root / "source.onnx", "--task", "classification", "--imgsz", "32", "--output")
    int8 = ("--precision", "int8", "--calib-data", data / "train")
    return {
        "fp32": (*source, "out/fp32.onnx"),
        "int8": (*source, "out/int8.onnx", *int8),
        "triton": (*source, "out/model.onnx", "--triton", "out/models", "--images"),
        "traced": ("export", "--weights", DEMO / "hrnet_w18_small_v1_photos10.safetensors", "--imgsz", "32",
                   "--output", "out/traced.onnx"),
        "report": ("report", root / "fp32.onnx", root / "int8.onnx", "--data", data, "--out", "out/report", *CPU,
                   "--seconds", "0.01", "--threads", "1"),
        "save": ("predict", root / "masks.onnx", images, root / "film.avi", "--save", "out/overlays", *CPU),
        "jsonl": ("predict", root / "fp32.onnx", images, "--out", "out/rows", "--chunk", "2", *CPU),
        "masks": ("predict", root / "masks.onnx", images, "--out", "out/rows", "--format", "masks", "--chunk", "4",
                  *CPU),
    }  # fmt: skip


def hidden(folder):
    """Hidden files and folders at any depth, but the journal of a report that is not complete."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.startswith("."))


def digests(folder):
    """The digest of every file by name, but of those that hold times."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("report."))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_whole(folder):
    """Open and verify every file that has its final name; returns their number."""
    count = 0
    for path in sorted(folder.rglob("*")):
        visible = not any(part.startswith(".") for part in path.relative_to(folder).parts)
        if visible and path.is_file():
            _check_file(path)
            count += 1
    return count


def _check_file(path):
    name = path.name
    if name == "_progress.jsonl":  # appended to while a run lasts; its torn last line is skipped
        return
    assert path.stat().st_size, f"{path} is empty"
    if name.endswith(".onnx"):
        assert all(check.outcome == "ok" for check in verify(inspect(path)) if check.name == "fingerprint"), path
    elif name.endswith(".calib.json"):
        CalibrationTable.load(path)
    elif name.endswith(".png"):
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None, path
    elif name.endswith((".mp4", ".avi")):
        assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 9, path
    elif name == "report.json":
        check_report(path.parent)
    elif name.endswith(".json"):
        json.loads(path.read_text())
    elif name.endswith(".jsonl"):
        assert [json.loads(line)["index"] for line in path.read_text().splitlines()], path


def check_report(folder):
    """The marker is there, so all four files are, and they are of one run: each holds the command."""
    command = json.loads((folder / "report.json").read_text())["command"]
    stamp = command.split("--threads ")[-1].split()[0]
    for kind in ("html", "md"):
        text = (folder / f"report.{kind}").read_text()
        assert f"--threads {stamp}" in text, (folder, kind, stamp)
    assert "fp32" in (folder / "report.csv").read_text()


def fresh(root, name):
    """A new empty folder below `root`."""
    folder = Path(root) / name
    for inner in ("out", "tmp", "cache"):
        (folder / inner).mkdir(parents=True)
    return folder
