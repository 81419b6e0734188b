"""Features of candidates against those of the reference."""

import numpy as np
import pytest

from hrnet_deploy.evaluation.feature_similarity import compare_features
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.imaging.drawing import write_image
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, Resize, ShapeRange, Task, TensorSpec


class Featured:
    """A model whose features are the channel means of the image, with a shift of the first channel."""

    device = "cpu"

    def __init__(self, *names, shift=0.0):
        self.names, self.shift = names, shift
        scores = (TensorSpec("logits", "float32", ("batch", 2)),)
        self.card = ModelCard(
            task=Task.CLASSIFICATION,
            variant="means",
            classes=("a", "b"),
            preprocessing=Preprocessing(resize=Resize.NONE, size_hw=None),
            precision=Precision.FP32,
            inputs=(TensorSpec("input", "uint8", ("batch", "height", "width", 3)),),
            outputs=scores + tuple(TensorSpec(name, "float32", ("batch", 3)) for name in names),
            shapes=ShapeRange((1, 1, 1), (1, 8, 8), (8, 64, 64)),
            pixels_in=True,
        )

    def infer(self, feed):
        (pixels,) = feed.values()
        means = pixels.mean(axis=(1, 2)).astype(np.float32) + np.array([self.shift, 0, 0], np.float32)
        return {"logits": means[:, :2]} | dict.fromkeys(self.names, means)


@pytest.fixture
def dataset(tmp_path):
    for index, level in enumerate((40, 200)):
        folder = tmp_path / f"c{index}"
        folder.mkdir()
        write_image(folder / "x.png", np.full((8, 8, 3), level, np.uint8))
    from hrnet_deploy.evaluation import find_dataset

    return find_dataset(tmp_path, Featured().card)


def test_shared_features_are_compared_image_by_image(dataset):
    models = [Featured("v", "w"), Featured("v"), Featured("w", shift=40.0), Featured("z"), Featured()]
    found = compare_features([ModelRunner(model) for model in models], dataset)
    assert [list(one) for one in found] == [[], ["v"], ["w"], [], []]
    assert (found[1]["v"].mean, found[1]["v"].worst) == (pytest.approx(1), pytest.approx(1))
    # (80, 40, 40) beside (40, 40, 40), and (240, 200, 200) beside (200, 200, 200)
    cosines = [160 / (3**0.5 * 9600**0.5), 640 / (3**0.5 * 137600**0.5)]
    assert found[2]["w"].worst == pytest.approx(cosines[0], abs=1e-6)
    assert found[2]["w"].mean == pytest.approx(sum(cosines) / 2, abs=1e-6)


def test_models_without_features_read_no_image(dataset, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.evaluation.feature_similarity.read_frame", None)
    assert compare_features([ModelRunner(Featured()), ModelRunner(Featured("v"))], dataset) == [{}, {}]


def test_a_report_shows_them(dataset):
    from hrnet_deploy.report import build_report
    from hrnet_deploy.report.html import as_html
    from hrnet_deploy.report.markdown import as_markdown

    report = build_report(Featured("v"), [Featured("v", shift=40.0)], dataset, seconds=0.01)
    assert report.with_features
    assert "cosine similarity to R" in as_markdown(report)
    assert '<section id="features">' in as_html(report)
    (reference, candidate) = report.to_dict()["rows"]
    assert reference["features"] == {}
    assert candidate["features"]["v"]["cosine_worst"] == pytest.approx(0.942809, abs=1e-4)
