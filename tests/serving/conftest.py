"""One server of the demo's two models for all tests, and what they predict here."""

import pytest
from helpers.http_server import http_server

from hrnet_deploy import Predictor


@pytest.fixture(scope="session")
def server(photos_onnx, street_onnx, tmp_path_factory):
    """A server of a classifier and a model that segments."""
    folder = tmp_path_factory.mktemp("server")
    with http_server(folder, photos_onnx, f"city={street_onnx}", "--max-body", 2, "--max-pixels", 1_000_000) as server:
        yield server
    assert "Traceback" not in server.log


@pytest.fixture(scope="session")
def photos(photos_onnx):
    return Predictor(photos_onnx, device="cpu")


@pytest.fixture(scope="session")
def street(street_onnx):
    return Predictor(street_onnx, device="cpu")
