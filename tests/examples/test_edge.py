"""examples/edge: artifacts converted to ncnn and MNN, compared with ONNX Runtime; what cannot be converted fails."""

import cv2
import numpy as np
import onnxruntime
import pytest
from helpers.example_program import EXAMPLES, run
from helpers.peer_environment import peer_python

from hrnet_deploy import Predictor
from hrnet_deploy.integrity.inspect import inspect
from hrnet_deploy.integrity.runtimes import Outcome, find_runtimes, runtime_table
from hrnet_deploy.processing.model_io import network_input
from hrnet_deploy.processing.preprocess import Preprocessor

pytestmark = pytest.mark.slow

VERSIONS = {row.name: row.version for row in runtime_table()}
PNNX = "pnnx==20261020"
PLAIN = ("photos-plain", "photos-softmax", "street-plain")
CONVERTED = (*PLAIN, "photos", "photos-plain-fp16", "street-int8")
"""Forms of every kind; a conversion takes up to half a minute."""
MIN_PIXELS = 0.9999
"""MNN's own upsampling rounds differently: up to 5 of 273,280 pixels were other classes."""


@pytest.fixture(scope="module")
def ncnn():
    return peer_python("ncnn", f"ncnn=={VERSIONS['ncnn']}", "numpy", without_dependencies=(PNNX,))


@pytest.fixture(scope="module")
def mnn():
    return peer_python("mnn", f"MNN=={VERSIONS['MNN']}", "numpy")


@pytest.fixture
def outputs(form, image_file, tmp_path):
    """(python, script, name of a form, weights) -> the process, the peer's output or None, ONNX Runtime's output."""

    def computed(python, script, name, *weights):
        path = form(name)
        with Predictor(path, backend="onnxruntime", device="cpu") as predictor:
            card = predictor.card
        batch = network_input(card, Preprocessor(card.preprocessing), cv2.imread(str(image_file(name, ".png"))))[None]
        np.save(tmp_path / "input.npy", batch)
        done = run(python, EXAMPLES / "edge" / script, path, tmp_path / "input.npy", tmp_path / "output.npy", *weights)
        found = np.load(tmp_path / "output.npy") if done.returncode == 0 else None
        expected = onnxruntime.InferenceSession(path).run(None, {"input": batch})[0]
        return done, found, expected

    return computed


def check(found, expected):
    """Compare labels, or the best class of scores, pixel by pixel."""
    assert found.shape == expected.shape
    labels = (found, expected) if expected.dtype.kind in "iu" else (found.argmax(1), expected.argmax(1))
    assert (labels[0] == labels[1]).mean() >= (MIN_PIXELS if found.size > 1000 else 1)


@pytest.mark.parametrize("name", CONVERTED)
def test_ncnn_runs_what_the_table_lists(ncnn, outputs, form, name):
    done, found, expected = outputs(ncnn, "run_ncnn.py", name)
    assert _outcome("ncnn", form(name)) is (Outcome.YES if name in PLAIN else Outcome.NO)
    if name in PLAIN:
        check(found, expected)
    else:
        assert "run_ncnn.py: model.ncnn.param must hold layers that ncnn has" in done.stderr


@pytest.mark.parametrize("name", ["photos-plain", "street-plain"])
def test_ncnn_runs_with_fp16_weights(ncnn, outputs, name):
    found, expected = outputs(ncnn, "run_ncnn.py", name, "fp16")[1:]
    agreement = (found.argmax(1) == expected.argmax(1)).mean()
    assert agreement >= (0.998 if name.startswith("street") else 1)


@pytest.mark.parametrize("name", CONVERTED)
def test_mnn_runs_what_the_table_lists(mnn, outputs, form, name):
    done, found, expected = outputs(mnn, "run_mnn.py", name)
    quantized = name.endswith("int8")
    assert _outcome("MNN", form(name)) is (Outcome.NO if quantized else Outcome.YES)
    if not quantized:
        check(found, expected)
    else:
        assert done.returncode or (found != expected).mean() > 0.01


@pytest.mark.parametrize("name", ["photos", "street"])
def test_mnn_runs_with_fp16_weights(mnn, outputs, name):
    found, expected = outputs(mnn, "run_mnn.py", name, "fp16")[1:]
    assert (found == expected).mean() >= (0.997 if name == "street" else 1)


def _outcome(runtime, path):
    (found,) = (each.outcome for each in find_runtimes(inspect(path)) if each.runtime == runtime)
    return found
