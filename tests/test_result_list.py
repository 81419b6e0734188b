"""Results show themselves: printed, in a notebook, as a table."""

import base64
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.result_list import Results
from hrnet_deploy.results import ClassificationResult, SegmentationResult

COMMON = {"path": Path("in/a.png"), "speed": {"preprocess": 1.0, "inference": 2.0, "postprocess": 0.5}}


def classified(name="a.png", size=(20, 30)):
    return ClassificationResult(
        **COMMON,
        name=name,
        image=np.full((*size, 3), 9, np.uint8),
        classes=("cat", "<b>dog</b>", "Käse"),
        indices=np.array([1, 0, 2]),
        scores=np.array([0.75, 0.2, 0.05], np.float32),
    )


def segmented(mask, name="b.png"):
    mask = np.array(mask, np.uint8)
    image = np.zeros((*mask.shape, 3), np.uint8)
    palette = np.eye(3, dtype=np.uint8) * 255
    return SegmentationResult(
        **COMMON, name=name, image=image, classes=("road", "sky", "tree"), mask=mask, palette=palette
    )


def test_printing_a_result_shows_the_answer():
    assert str(classified()) == "a.png: <b>dog</b> 0.750, cat 0.200, Käse 0.050"
    assert repr(classified()) == "<ClassificationResult a.png: <b>dog</b> 0.750, cat 0.200, Käse 0.050>"
    assert str(segmented([[0, 0, 0, 1]])) == "b.png: road 75.0%, sky 25.0%"
    assert "75.0%" in repr([segmented([[0, 0, 0, 1]])])


@pytest.mark.parametrize("size", [(20, 30), (3000, 40), (10, 2500)])
def test_a_notebook_shows_the_overlay_and_the_answer(size):
    result = classified(size=size)
    shown = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert max(shown.shape) <= 800
    text = result._repr_html_()
    assert base64.b64decode(re.search(r"base64,([^\"]+)", text)[1]) == result._repr_png_()
    assert "&lt;b&gt;dog&lt;/b&gt; 0.750" in text
    assert "<b>" not in text


def test_a_notebook_shows_the_first_of_many():
    results = Results([classified(f"{i}.png") for i in range(15)])
    text = results._repr_html_()
    assert text.count("<figure") == 12
    assert "and 3 more" in text
    assert "more" not in Results(results[:2])._repr_html_()


def test_records_are_flat_and_all_have_the_same_columns():
    first, second = Results([segmented([[0, 0, 0, 1]]), segmented([[2, 2], [2, 0]], "c.png")]).records()
    assert first == {
        "name": "b.png",
        "path": str(Path("in/a.png")),
        "height": 1,
        "width": 4,
        "road": 0.75,
        "sky": 0.25,
        "tree": 0.0,
        "preprocess_ms": 1.0,
        "inference_ms": 2.0,
        "postprocess_ms": 0.5,
    }
    assert list(second) == list(first)
    assert (second["road"], second["tree"]) == (0.25, 0.75)
    (record,) = Results([classified()]).records()
    assert (record["pred_label"], record["pred_class"], record["pred_score"]) == (1, "<b>dog</b>", 0.75)


def test_a_table_of_pandas():
    pytest.importorskip("pandas", reason="to_df needs pandas")
    table = Results([classified(), classified("z.png")]).to_df()
    assert table["name"].tolist() == ["a.png", "z.png"]
    assert table["pred_score"].mean() == pytest.approx(0.75)


def test_without_pandas_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        Results().to_df()


def test_predict_gives_such_a_list(photos_onnx, picture):
    from hrnet_deploy import Predictor

    with Predictor(photos_onnx, device="cpu") as predictor:
        found = predictor.predict([picture, picture])
    assert isinstance(found, list)
    assert [one["name"] for one in found.records()] == ["image_0", "image_1"]
