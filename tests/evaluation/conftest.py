"""A net that reads its answers off the pixels, and data sets small enough to write down."""

import importlib.util
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Preprocessing, Resize, ShapeRange, Task, TensorSpec

_LIBRARIES = []  # an operator lives as long as the library that defines it


class ColourNet:
    """A model of few lines: the answer is the grey level of a pixel, or of the first one for a classifier.

    It stands where a Predictor does, so that what surrounds the net is tested against answers known beforehand.
    """

    device = "cpu"
    backend = "numpy"

    def __init__(self, task=Task.SEGMENTATION, classes=4, *, batch="batch", size_hw=None, kind=OutputKind.LOGITS):
        sides = size_hw or ("height", "width")
        out = (batch, classes, *sides) if task is Task.SEGMENTATION else (batch, classes)
        self.card = ModelCard(
            task=task,
            variant="colour_net",
            classes=tuple(f"class_{i}" for i in range(classes)),
            preprocessing=Preprocessing(resize=Resize.SQUASH if size_hw else Resize.NONE, size_hw=size_hw),
            precision=Precision.FP32,
            inputs=(TensorSpec("input", "uint8", (batch, *sides, 3)),),
            outputs=(TensorSpec("logits", "float32", out),),
            shapes=ShapeRange((1, 1, 1), (1, 8, 8), (8, 64, 64)),
            output_kind=kind,
            pixels_in=True,
        )
        self.batches = []
        self.threads = set()

    def infer(self, feed):
        (pixels,) = feed.values()
        self.batches.append(len(pixels))
        self.threads.add(threading.current_thread())
        classes = len(self.card.classes)
        one_hot = np.eye(classes, dtype=np.float32)
        if self.card.task is Task.CLASSIFICATION:
            return {"logits": one_hot[pixels[:, 0, 0, 0] % classes]}
        return {"logits": np.ascontiguousarray(np.moveaxis(one_hot[pixels[..., 0] % classes], -1, 1))}


@pytest.fixture
def torchmetrics(monkeypatch):
    """torchmetrics' classification metrics with divisions in float64, so that 1e-9 can be asked for."""
    torch = pytest.importorskip("torch", reason="torchmetrics, the oracle, needs torch")
    if importlib.util.find_spec("torchmetrics") is None:
        pytest.skip("torchmetrics is the oracle: pip install torchmetrics")
    try:
        found = importlib.import_module("torchmetrics.classification")
    except (
        RuntimeError
    ):  # a torchvision built for another torch brings no operators, and fails where it describes these
        _LIBRARIES.append(torch.library.Library("torchvision", "FRAGMENT"))
        for name in ("nms", "qnms"):
            _LIBRARIES[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        found = importlib.import_module("torchmetrics.classification")
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    return found


@pytest.fixture
def colour_net():
    """Makes such nets."""
    return ColourNet


@pytest.fixture
def picture_file():
    """Writes a picture: grey levels, or all pixels of one."""

    def write(path: Path, grey=0, size_hw=(8, 8)):
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.broadcast_to(np.asarray(grey, np.uint8), size_hw if np.ndim(grey) == 0 else np.shape(grey))
        assert cv2.imwrite(str(path), values)
        return path

    return write


@pytest.fixture
def scenes(tmp_path, picture_file):
    """Cityscapes' folders with pictures that show their labels, of different sizes, and what a perfect net answers."""

    def make(count=6, classes=4, kind="labelTrainIds", root=tmp_path / "scenes"):
        generator = np.random.default_rng(7)
        for index in range(count):
            grey = generator.integers(0, classes, (9 + index, 14), np.uint8)
            label = grey.copy()
            label[0] = 255
            city = f"{'ab'[index % 2]}/scene_{index}"
            picture_file(root / f"leftImg8bit/val/{city}_leftImg8bit.png", grey)
            picture_file(root / f"gtFine/val/{city}_gtFine_{kind}.png", label)
        return root

    return make


@pytest.fixture
def photos(tmp_path, picture_file):
    """Class folders whose pictures show their class, but for every third one."""

    def make(count=12, classes=4, root=tmp_path / "photos"):
        for index in range(count):
            label = index % classes
            picture_file(root / f"val/class_{label}/{index:03d}.png", (label + (index % 3 == 0)) % classes)
        return root

    return make
