"""One server of the demo's two models for all tests, and what they predict here."""

import pytest
from helpers.asgi_call import in_process
from helpers.http_server import http_server

from hrnet_deploy import Predictor, serving


@pytest.fixture(scope="module", params=["in process", pytest.param("under uvicorn", marks=pytest.mark.slow)])
def server(request, photos, street):
    """A server of a classifier and a model that segments."""
    if request.param == "in process":
        limits = serving.Limits(body_bytes=2_000_000, pixels=1_000_000)
        with in_process(serving.app({"photos": photos, "city": street}, limits=limits)) as found:
            yield found
    else:
        yield request.getfixturevalue("real_server")


@pytest.fixture(scope="session")
def real_server(photos_onnx, street_onnx, tmp_path_factory):
    """The same as a process of its own."""
    folder = tmp_path_factory.mktemp("server")
    words = (photos_onnx, f"city={street_onnx}", "--max-body", 2, "--max-pixels", 1_000_000)
    with http_server(folder, *words) as found:
        yield found
    assert "Traceback" not in found.log


@pytest.fixture(scope="session")
def photos(photos_onnx):
    return Predictor(photos_onnx, device="cpu")


@pytest.fixture(scope="session")
def street(street_onnx):
    return Predictor(street_onnx, device="cpu")
