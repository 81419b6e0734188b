"""Models opened for an evaluation: their provenance, on a server too."""

import logging

import pytest
from helpers.v2_server import SHA256, Scorer, serving, toy_card

from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.evaluation import evaluate
from hrnet_deploy.evaluation.loaded_model import open_models
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.spec import Task


@pytest.fixture
def v2():
    card = toy_card()
    with serving(Scorer(card), card) as server:
        yield server


def test_a_model_on_a_server_is_named_by_its_url_and_the_digest_that_it_reports(v2):
    with open_models([v2.url, RemoteModel(v2.url)], device="auto", backend="auto", threads=None) as models:
        assert {(m.info.name, m.info.path, m.info.sha256, m.info.size_bytes) for m in models} == {
            (v2.url, None, SHA256, 0)
        }
        assert [m.model.streams for m in models] == [4, 4]
    v2.parameters["hrnet_deploy.sha256"] = "no digest"
    with open_models([v2.url], device="auto", backend="auto", threads=2, streams=1) as (model,):
        assert (model.info.sha256, model.model.streams) == ("", 1)


def test_device_and_backend_are_for_the_files(v2, photos_onnx, colour_net):
    models = [photos_onnx, v2.url, colour_net(Task.CLASSIFICATION)]
    with open_models(models, device="cpu", backend="onnxruntime", threads=1) as (file, served, given):
        assert (file.info.device, file.info.path, file.info.size_bytes) == (
            "cpu",
            photos_onnx,
            photos_onnx.stat().st_size,
        )
        assert served.info.device == v2.url.removesuffix("/v2/models/m")
        assert (given.info.name, given.info.sha256) == ("colour_net", "")


def test_an_evaluation_over_a_server_equals_the_local_one_and_resumes(v2, photos, tmp_path, caplog):
    class Local(Scorer):
        card = v2.card

        def infer(self, batch):
            return self.run(batch)

    data = photos(12)
    wanted = evaluate(Local(v2.card), data)
    found = evaluate(v2.url, data, journal=tmp_path / "journal")
    assert found.images == wanted.images
    assert len(v2.batches) == 12
    again = evaluate(v2.url, data, journal=tmp_path / "journal")
    assert (again.images, again.run.resumed, len(v2.batches)) == (wanted.images, 12, 12)
    del v2.parameters["hrnet_deploy.sha256"]
    with caplog.at_level(logging.WARNING):
        third = evaluate(v2.url, data, journal=tmp_path / "journal")
    assert (third.images, third.run.resumed, len(v2.batches)) == (wanted.images, 0, 24)
    assert f"cannot resume, because {v2.url} does not report its SHA-256" in caplog.text


def test_a_predictor_of_a_url_is_a_model(v2, photos):
    with Predictor(v2.url) as predictor:
        assert evaluate(predictor, photos(12)).model.device == predictor.device
