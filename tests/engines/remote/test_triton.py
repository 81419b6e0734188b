"""A real Triton as an engine: predictions, evaluations and errors over a repository that this package writes."""

import time

import numpy as np
import pytest
from helpers.triton_server import triton_server

from hrnet_deploy import Predictor
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.evaluation import compare
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.integrity.inspect_server import inspect_server, verify_server
from hrnet_deploy.triton.repository import write_triton_repository

pytestmark = pytest.mark.slow
READY_WITHIN_S = 60


@pytest.fixture(scope="module")
def triton(photos_onnx, tmp_path_factory):
    """A server of the photo classifier, as model "photos"."""
    repository = tmp_path_factory.mktemp("repository")
    write_triton_repository(photos_onnx, repository, name="photos")
    with triton_server(repository, tmp_path_factory.mktemp("triton"), "--model-control-mode=explicit") as server:
        load(server)
        yield server


@pytest.fixture
def url(triton):
    return triton.model_url("photos")


def load(server):
    server.load("photos")
    end = time.monotonic() + READY_WITHIN_S
    while not server.is_ready("photos"):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_attributes_are_tritons(url):
    with Predictor(url, streams=None) as predictor:
        assert (predictor.backend, predictor.arithmetic, predictor.streams) == ("onnxruntime", "", 4)
        assert url.startswith(predictor.device)


@pytest.mark.parametrize("batch", [1, 3])
def test_predictions_equal_the_local_ones(url, photos_onnx, batch):
    images = synthetic_images(12, (64, 64))
    with Predictor(photos_onnx, device="cpu", backend="onnxruntime", threads=1) as local:
        wanted = local.predict(images, batch=batch)
    with Predictor(url, streams=8) as remote:
        found = remote.predict(images, batch=batch)
    assert [one.label for one in found] == [one.label for one in wanted]
    np.testing.assert_allclose([one.probs for one in found], [one.probs for one in wanted], atol=1e-5)


def test_an_evaluation_against_its_own_url_changes_no_image(url, photos_onnx, shared):
    options = {"device": "cpu", "backend": "onnxruntime", "limit": 40}
    (found,) = compare(photos_onnx, [url], shared / "data/photos", **options).candidates
    assert (found.agreement, list(found.images)) == (1, [])
    assert len(found.evaluation.model.sha256) == 64


def test_an_inspection_and_the_fingerprint(url, photos_onnx):
    inspection = inspect_server(RemoteModel(url))
    assert inspection.info.server == "triton 2.51.0"
    assert (inspection.info.versions, inspection.info.not_ready, inspection.info.binary) == (("1",), "", True)
    assert inspection.card == Predictor(photos_onnx, device="cpu").card
    (check,) = verify_server(inspection)
    assert check.outcome == "ok"


def test_other_models_and_versions_are_unknown(url, triton):
    for other in (f"{url}/versions/7", triton.model_url("nothing")):
        with pytest.raises(ArtifactError, match=r"must be a model of a V2 server, got HTTP 40.*is not found"):
            open_engine(other)
    assert open_engine(RemoteModel(f"{url}/versions/1")).outputs[0].name == "logits"


def test_a_batch_that_triton_refuses_is_its_sentence(url):
    engine = open_engine(url)
    with pytest.raises(UsageError, match=r"must accept the request, got HTTP 400 .*batch-size must be <= 16"):
        engine.run({"input": np.zeros((17, 3, 64, 64), np.float32)})
    assert engine.run({"input": np.zeros((16, 3, 64, 64), np.float32)})["logits"].shape == (16, 10)


def test_a_model_that_is_unloaded_meanwhile(url, triton):
    engine = open_engine(url)
    triton.unload("photos")
    end = time.monotonic() + READY_WITHIN_S
    while triton.is_ready("photos") and time.monotonic() < end:
        time.sleep(0.05)
    try:
        with pytest.raises(ArtifactError, match="has no available versions"):
            engine.run({"input": np.zeros((1, 3, 64, 64), np.float32)})
        with pytest.raises(ArtifactError, match="has no available versions"):
            open_engine(url)
    finally:
        load(triton)
    assert engine.run({"input": np.zeros((1, 3, 64, 64), np.float32)})["logits"].shape == (1, 10)
