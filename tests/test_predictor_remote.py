"""A predictor of a URL: the results of the local one, several requests in flight, copies, and its token."""

import copy
import pickle
import threading

import numpy as np
import pytest
from helpers.v2_server import Scorer, serving, toy_card

from hrnet_deploy import ArtifactError, DeviceError, Predictor, UsageError
from hrnet_deploy.engines.remote.remote_model import TIMEOUT_S
from hrnet_deploy.imaging.synthetic_images import synthetic_images

CARD = toy_card()
BEARER = "secret"


@pytest.fixture
def v2():
    with serving(Scorer(CARD), CARD) as server:
        yield server


@pytest.mark.parametrize(("name", "batch"), [("photos_onnx", 1), ("photos_onnx", 4), ("street_onnx", 1)])
@pytest.mark.slow
def test_results_equal_those_of_the_file(request, name, batch):
    images = [image for size in ((64, 64), (96, 64), (64, 96)) for image in synthetic_images(2, size)]
    with Predictor(request.getfixturevalue(name), device="cpu", backend="onnxruntime", threads=1) as local:
        wanted = local.predict(images, batch=batch)
        with serving(local._engine, local.card) as v2, Predictor(v2.url) as remote:
            assert remote.card == local.card
            found = remote.predict(images, batch=batch)
            single = remote.predict(images[0])
    for one, other in zip((single, *found), (wanted[0], *wanted), strict=True):
        if name == "photos_onnx":
            np.testing.assert_allclose(one.probs, other.probs, rtol=1e-5)
        else:
            assert np.array_equal(one.mask, other.mask)


def test_several_images_are_several_requests_in_flight(v2):
    together = threading.Barrier(3)

    def infer(tensors):
        together.wait(20)  # broken, and thus an error, with fewer than three requests
        return Scorer(CARD).run(tensors)

    v2.infer = infer
    with Predictor(v2.url, streams=3) as predictor:
        results = predictor.predict(synthetic_images(6, (8, 8)))
    assert len(results) == 6
    assert v2.connections <= 3


def test_attributes_name_the_server(v2):
    with Predictor(v2.url) as predictor:
        assert predictor.device == v2.url.removesuffix("/v2/models/m")
        assert (predictor.backend, predictor.arithmetic, predictor.streams) == ("onnxruntime", "", 4)
        assert predictor.metadata["hrnet_deploy.sha256"] == "ab" * 32
    assert [Predictor(v2.url, streams=streams).streams for streams in (None, 1, 7)] == [4, 1, 7]
    assert Predictor(v2.url, lanes=2).streams == 2


def test_threads_are_for_reading_ahead(v2):
    assert Predictor(v2.url, threads=16)._loop._reader_count == 8
    assert Predictor(v2.url, threads=2)._loop._reader_count == 1


def test_a_card_may_be_given(v2):
    other = toy_card(classes=("e", "f", "g", "h"))
    assert Predictor(v2.url, card=other).predict(synthetic_images(1, (8, 8))[0]).label in "efgh"
    v2.parameters.clear()
    assert Predictor(v2.url, card=other).card == other
    with pytest.raises(
        ArtifactError, match=r"must have a model card in its configuration, got none.*\(in Python: card=\)"
    ):
        Predictor(v2.url)
    with pytest.raises(ArtifactError, match="must have the inputs and outputs of its card"):
        Predictor(v2.url, card=toy_card(outputs=CARD.inputs))


def test_copies_open_the_url_again_and_show_no_token(v2):
    picture = synthetic_images(1, (8, 8))[0]
    given = Predictor(v2.url, token=BEARER, timeout=30, streams=2)
    assert "secret" not in repr(given) + repr(vars(given)) + repr(given.__reduce__())
    for other in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        v2.requests.clear()
        assert np.array_equal(other.predict(picture).probs, given.predict(picture).probs)
        assert (other.streams, other._engine._client._timeout_s) == (2, 30)
        assert {headers["Authorization"] for _, _, headers in v2.requests} == {"Bearer secret"}
        other.close()
        with pytest.raises(DeviceError, match="got a closed engine"):
            other.predict(picture)
    assert Predictor(v2.url)._engine._client._timeout_s == TIMEOUT_S


@pytest.mark.parametrize("options", [{"token": "x"}, {"timeout": 3}])
def test_a_file_takes_no_token_and_no_timeout(options):
    with pytest.raises(UsageError, match=r"token and timeout apply to a server's URL only, got one for w18\.onnx"):
        Predictor("w18.onnx", **options)


@pytest.mark.parametrize(
    "options", [{"device": "cuda:0"}, {"backend": "openvino"}, {"token": "a b"}, {"timeout": 0}, {"threads": 0}]
)
def test_options_that_a_server_does_not_take_are_refused_before_it_is_reached(options):
    with pytest.raises(UsageError):
        Predictor("http://127.0.0.1:9/v2/models/m", **options)


def test_a_token_stays_on_this_machine_without_https():
    with pytest.raises(UsageError, match="a token must be sent over https"):
        Predictor("http://example.org/v2/models/m", token=BEARER)


def test_an_image_that_cannot_be_read_costs_no_request(v2, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    skipped = []
    with Predictor(v2.url) as predictor:
        results = predictor.predict([tmp_path / "a.jpg"], on_error=lambda name, error: skipped.append(name))
    assert (len(results), skipped, v2.batches) == (0, [str(tmp_path / "a.jpg")], [])
