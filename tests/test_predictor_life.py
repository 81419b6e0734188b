"""A predictor is opened, copied to other processes, and closed."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

from hrnet_deploy import ArtifactError, DeviceError, Predictor
from hrnet_deploy import predictor as predictor_module
from hrnet_deploy.engines.load import open_engine


@pytest.fixture(scope="module")
def photos(photos_onnx):
    with Predictor(photos_onnx, device="cpu", threads=1) as found:
        yield found


def _label(predictor, image):
    return predictor.predict(image).label


@pytest.mark.slow
def test_a_predictor_reaches_a_spawned_process(photos, picture):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_label, (photos, picture)) == photos.predict(picture).label


def test_copies_open_the_file_again_with_the_same_arguments(photos_onnx, picture, monkeypatch, tmp_path):
    monkeypatch.chdir(photos_onnx.parent)
    given = Predictor(path=photos_onnx.name, device="cpu", threads=1, streams=2)
    monkeypatch.chdir(tmp_path)  # the path was relative
    for other in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert other.streams == 2
        np.testing.assert_array_equal(other.predict(picture).probs, given.predict(picture).probs)
        other.close()
        with pytest.raises(DeviceError, match="must be open to run, got a closed engine"):
            other.predict(picture)
    assert len(pickle.dumps(given)) < 1000
    given.close()


def test_an_engine_whose_card_is_missing_is_closed(tmp_path, monkeypatch):
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "bare",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "bare.onnx")
    opened = []

    def remembered(*args, **options):
        opened.append(open_engine(*args, **options))
        return opened[0]

    monkeypatch.setattr(predictor_module, "open_engine", remembered)
    with pytest.raises(ArtifactError):
        Predictor(tmp_path / "bare.onnx", device="cpu")
    with pytest.raises(DeviceError, match="got a closed engine"):
        opened[0].run({"x": np.zeros((1, 3, 8, 8), np.float32)})
