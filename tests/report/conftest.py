"""Models that read their outputs off the pixels, with names that try to be markup, and reports on them."""

import cv2
import numpy as np
import pytest

from hrnet_deploy.evaluation.comparison import Drop
from hrnet_deploy.evaluation.waterfall_result import WaterfallStep
from hrnet_deploy.report import build_report
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, Resize, ShapeRange, Task, TensorSpec

HOSTILE = ("<script>alert(1)</script>", "a|b `c` **d**", '"><img src=x onerror=alert(2)>', "=1+1")


class PixelModel:
    """Outputs the gray level of a pixel as its class; `mistakes` maps levels to wrong classes."""

    device = "cpu"
    backend = "numpy"

    def __init__(self, task, *, mistakes=None, precision=Precision.FP32, classes=HOSTILE, lineage=None):
        self.mistakes = dict(mistakes or {})
        shape = ("batch", len(classes), "height", "width")
        self.card = ModelCard(
            task=task,
            variant="pixel<b>model",
            classes=classes,
            preprocessing=Preprocessing(resize=Resize.NONE, size_hw=None),
            precision=precision,
            inputs=(TensorSpec("input", "uint8", ("batch", "height", "width", 3)),),
            outputs=(TensorSpec("logits", "float32", shape if task is Task.SEGMENTATION else shape[:2]),),
            shapes=ShapeRange((1, 1, 1), (1, 8, 8), (8, 64, 64)),
            pixels_in=True,
            lineage=lineage or {"weights": "<i>w</i>.pth", "weights_sha256": "0" * 64},
        )

    def infer(self, feed):
        (pixels,) = feed.values()
        levels = pixels[..., 0] if self.card.task is Task.SEGMENTATION else pixels[:, 0, 0, 0]
        found = np.vectorize(lambda level: self.mistakes.get(int(level), int(level)))(levels)
        scores = 4 * np.eye(len(self.card.classes), dtype=np.float32)[found]
        if self.card.task is Task.SEGMENTATION:
            scores = np.ascontiguousarray(np.moveaxis(scores, -1, 1))
        return {"logits": scores}


@pytest.fixture(scope="session")
def pixel_model():
    """The class of such models."""
    return PixelModel


@pytest.fixture(scope="session")
def hostile():
    """The class names."""
    return HOSTILE


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Index folders of images that show their class, with file names that try to be markup."""
    root = tmp_path_factory.mktemp("photos<svg onload=alert(3)>")
    for index in range(12):
        label = index % 4
        path = root / f"val/{label}/{index} <script>alert('x')&amp;.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((8, 8), label, np.uint8))
    return root


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Images that show their labels, with file names that try to be markup."""
    root = tmp_path_factory.mktemp("scenes")
    generator = np.random.default_rng(7)
    for index in range(5):
        gray = generator.integers(0, 4, (9 + index, 14), np.uint8)
        label = gray.copy()
        label[0] = 255
        for folder, values in (("images", gray), ("labels", label)):
            path = root / folder / f"<b>{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), values)
    return root


@pytest.fixture(scope="session")
def photos_report(photos):
    """A classifier, one like it, and one that takes class 0 for 1."""
    task = Task.CLASSIFICATION
    like = PixelModel(task, precision=Precision.FP16)
    other = PixelModel(task, mistakes={0: 1}, precision=Precision.INT8)
    steps = (
        WaterfallStep(name="checkpoint <i>w</i>", value=1.0),
        WaterfallStep(name="left | out", reason="needs <b>Pillow</b>"),
        WaterfallStep(name="FP16", value=1.02, drop=Drop("top-1", -2.0, None, None), total=-2.0, agreement=0.98),
        WaterfallStep(name="INT8", value=0.75, drop=Drop("top-1", 27.0, 20.0, 30.0), total=25.0, agreement=0.73),
    )
    return build_report(
        PixelModel(task), [like, other], photos, seconds=0.01, command="hrnet-report '<x>'", waterfall=steps
    )


@pytest.fixture(scope="session")
def street_report(scenes):
    """A segmenter that takes class 3 for 2, and one that takes class 0 for 1 instead."""
    task = Task.SEGMENTATION
    other = PixelModel(task, mistakes={0: 1}, precision=Precision.INT8)
    return build_report(PixelModel(task, mistakes={3: 2}), [other], scenes, seconds=0.01)


@pytest.fixture(params=["photos", "street"])
def any_report(request):
    """Each of the two."""
    return request.getfixturevalue(f"{request.param}_report")
