"""The table of runtimes: ONNX Runtime and OpenCV in this process, and no row that claims more than tests run."""

from importlib.metadata import version

import cv2
import numpy as np
import onnxruntime
import pytest
from helpers.example_program import EXAMPLES, FORMS
from helpers.peer_environment import ROOT

from hrnet_deploy import Predictor
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.integrity.inspect import inspect
from hrnet_deploy.integrity.runtimes import Outcome, find_runtimes, runtime_table
from hrnet_deploy.processing.model_io import network_input
from hrnet_deploy.processing.preprocess import Preprocessor

pytestmark = pytest.mark.slow

ROWS = {row.name: row for row in runtime_table()}


@pytest.mark.parametrize("name", FORMS)
def test_opencv_runs_what_the_table_lists(form, image_file, name):
    path = form(name)
    with Predictor(path, backend="onnxruntime", device="cpu") as predictor:
        card = predictor.card
    batch = network_input(card, Preprocessor(card.preprocessing), cv2.imread(str(image_file(name, ".png"))))[None]
    expected = onnxruntime.InferenceSession(path).run(None, {"input": batch})[0]
    outcomes = {each.runtime: each.outcome for each in find_runtimes(inspect(path))}
    assert outcomes["ONNX Runtime CPU"] is Outcome.YES
    model = cv2.dnn.readNetFromONNX(str(path))
    model.setInput(batch)
    if name.endswith("int8"):
        assert outcomes["OpenCV dnn"] is Outcome.NO
        with pytest.raises(cv2.error, match="argTensor"):
            model.forward(model.getUnconnectedOutLayersNames())
        return
    assert outcomes["OpenCV dnn"] is Outcome.YES
    found = model.forward(model.getUnconnectedOutLayersNames())[0]
    labels = (found, expected) if expected.dtype.kind in "iu" else (found.argmax(1), expected.argmax(1))
    # Its FP16 differs from ONNX Runtime's in the last bits.
    assert (labels[0] == labels[1]).mean() >= (0.999 if name == "street-fp16" else 1)


def test_no_row_names_an_operator_that_no_form_has(form):
    used = set().union(*(read_header(form(name)).operators for name in FORMS))
    for row in runtime_table():
        assert row.operators | row.refused <= used, row.name


@pytest.mark.parametrize("row", runtime_table(), ids=lambda row: row.name)
def test_a_row_is_either_tested_or_tells_what_it_needs(row):
    assert bool(row.test) is bool(row.version) is bool(row.operators) is not bool(row.note)
    assert not row.test or (ROOT / row.test).is_file()


def test_the_table_has_the_versions_that_are_tested():
    assert ROWS["ONNX Runtime CPU"].version == version("onnxruntime")
    assert np.array_equal(ROWS["OpenCV dnn"].version.split("."), cv2.__version__.split(".")[:3])
    for name in ("node", "web"):
        text = (EXAMPLES / {"node": "node", "web": "browser"}[name] / "package.json").read_text()
        assert f'"onnxruntime-{name}": "{ROWS[f"onnxruntime-{name}"].version}"' in text
