"""The V2 protocol, with a client that others wrote and with requests by hand."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.http_server import http_server
from helpers.peer_environment import peer_python

from hrnet_deploy import Predictor, export
from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.v2_tensors import HEADER_LENGTH, read_message, write_message

PHOTOS = "/v2/models/photos"
SEED = 7


def batch(count, size=64):
    return np.random.default_rng(SEED).standard_normal((count, 3, size, size)).astype(np.float32)


def infer(server, tensors, path=f"{PHOTOS}/infer", as_json=(), **fields):
    """(status, message, tensors) of a request by hand."""
    head, binary = write_message(fields, "inputs", tensors, as_json=as_json)
    headers = {HEADER_LENGTH: str(len(head))} if binary else {}
    status, received, body = server.request("POST", path, b"".join([head, *binary]), headers)
    if status != 200:
        return status, json.loads(body)["error"], {}
    length = received.get(HEADER_LENGTH)
    return status, *read_message(body, None if length is None else int(length), "outputs")


@pytest.mark.slow
def test_tritonclient_gets_the_outputs_of_the_local_model(real_server, photos, street, tmp_path):
    python = peer_python(
        "tritonclient",
        "numpy",
        "urllib3",
        "gevent",
        "geventhttpclient",
        without_dependencies=("tritonclient==2.61.0", "python-rapidjson"),
    )
    script = Path(__file__).resolve().parents[1] / "helpers" / "v2_client.py"
    sizes = {"photos": (photos, [batch(1), batch(3), batch(7)]), "city": (street, [batch(1, 64), batch(2, 96)])}
    for name, (predictor, arrays) in sizes.items():
        np.savez(tmp_path / "in.npz", **{f"r{index}": array for index, array in enumerate(arrays)})
        spec = predictor.card.inputs[0]
        words = [f"127.0.0.1:{real_server.port}", name, spec.name, tmp_path / "in.npz", tmp_path / "out.npz"]
        done = subprocess.run([python, script, *words], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        found = np.load(tmp_path / "out.npz")
        assert len(found) == 4 * len(arrays)
        for key, output in found.items():
            want = predictor.infer(arrays[int(key[1])])[predictor.card.outputs[0].name]
            np.testing.assert_array_equal(output, want)


def test_metadata_and_config_describe_the_model(server, photos, photos_onnx):
    assert server.get_json("/v2")["name"] == "hrnet-serve"
    digest = sha256_file(photos_onnx)
    for path in (PHOTOS, f"{PHOTOS}/versions/1"):
        metadata = server.get_json(path)
        assert (metadata["name"], metadata["versions"]) == ("photos", ["1"])
        assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 64, 64]}]
        assert metadata["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
        config = server.get_json(f"{path}/config")
        assert config["max_batch_size"] == photos.card.shapes.max_nhw[0] == 16
        assert config["input"] == [{"name": "input", "data_type": "TYPE_FP32", "dims": [3, 64, 64]}]
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        assert card_from_metadata(parameters, "config") == photos.card
        assert parameters.get("hrnet_deploy.sha256", digest) == digest
        assert parameters["hrnet_deploy.device"] == "cpu"
        assert server.get_json(f"{path}/ready") == {"name": "photos", "ready": True}
    assert server.get_json("/v2/models/city")["inputs"][0]["shape"] == [-1, 3, -1, -1]
    assert server.request("GET", f"{PHOTOS}/versions/2")[0] == 404
    assert server.request("GET", "/v2/models/dog/config")[0] == 404


def test_outputs_are_json_unless_binary_is_requested(server, photos):
    want = photos.infer(batch(2))["logits"]
    for parameters, is_binary in (({}, False), ({"binary_data_output": True}, True)):
        status, message, outputs = infer(server, {"input": batch(2)}, id="a", parameters=parameters)
        assert (status, message["id"], message["model_name"], message["model_version"]) == (200, "a", "photos", "1")
        assert ("data" in message["outputs"][0]) is not is_binary
        np.testing.assert_array_equal(outputs["logits"], want)
    chosen = [{"name": "logits", "parameters": {"binary_data": True}}]
    message = infer(server, {"input": batch(2)}, as_json={"input"}, outputs=chosen)[1]
    assert "id" not in message
    assert message["outputs"][0]["parameters"] == {"binary_data_size": 80}


@pytest.mark.parametrize(
    ("tensors", "fields", "sentence"),
    [
        ({}, {}, "'input' must be given"),
        ({"x": batch(1)}, {}, "'input' must be given"),
        ({"input": batch(1), "x": batch(1)}, {}, "must be one the graph has, got 'x'"),
        ({"input": batch(1).astype(np.float64)}, {}, "must be float32"),
        ({"input": batch(1, 32)}, {}, "must be float32"),
        ({"input": batch(1)[0]}, {}, "must be float32"),
        ({"input": batch(0)}, {}, "batch must be 1 to 16, got 0"),
        ({"input": batch(17)}, {}, "batch must be 1 to 16, got 17"),
        ({"input": batch(1)}, {"id": 7}, "id must be a text"),
        ({"input": batch(1)}, {"outputs": [{"name": "x"}]}, "one of logits"),
        ({"input": batch(1)}, {"outputs": [{"name": "logits"}, {"name": "logits"}]}, "once"),
        ({"input": batch(1)}, {"outputs": "logits"}, "must be a list"),
        ({"input": batch(1)}, {"outputs": [{"name": "logits", "parameters": {"classification": 2}}]}, "no effect"),
        ({"input": batch(1)}, {"parameters": {"sequence_id": 1}}, "no effect"),
        ({"input": batch(1)}, {"parameters": {"binary_data_output": 1}}, "true or false"),
        ({"input": batch(1)}, {"model": "x"}, "members of the V2 protocol"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(server, tensors, fields, sentence):
    status, error, _ = infer(server, tensors, **fields)
    assert status == 400
    assert sentence in error


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "9" * 30, "5"])
def test_a_wrong_length_of_the_header_is_refused(server, length):
    status, record = server.post(f"{PHOTOS}/infer", b'{"inputs": []}', **{HEADER_LENGTH: length})
    assert (status, list(record)) == (400, ["error"])


def test_a_size_beyond_the_range_of_the_card_is_refused_before_it_is_computed(server):
    status, error, _ = infer(server, {"input": np.zeros((1, 3, 1, 5000), np.float32)}, "/v2/models/city/infer")
    assert (status, "at most 2048x4096" in error) == (400, True)


@pytest.mark.slow
def test_a_fixed_batch_is_met_exactly_and_filled_for_images(demo, jpegs, tmp_path):
    path = export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        imgsz=64,
        resize="squash",
        batch=4,
        pixels_in=True,
        classes=demo / "photos10.txt",
        output=tmp_path / "four.onnx",
    ).path
    local = Predictor(path, device="cpu")
    pixels = np.random.default_rng(SEED).integers(0, 256, (4, 64, 64, 3), np.uint8)
    with http_server(tmp_path, path) as server:
        config = server.get_json("/v2/models/four/config")
        assert (config["max_batch_size"], config["input"][0]["dims"]) == (0, [4, 64, 64, 3])
        name = local.card.inputs[0].name
        _, _, outputs = infer(server, {name: pixels}, "/v2/models/four/infer")
        np.testing.assert_array_equal(outputs["logits"], local.infer(pixels)["logits"])
        assert infer(server, {name: pixels[:3]}, "/v2/models/four/infer")[0] == 400
        status, record = server.post("/predict", jpegs[0])
        assert (status, record["pred_scores"]) == (200, local.predict(jpegs[0]).to_dict()["pred_scores"])


def test_a_tensor_of_the_models_own_size_passes_the_limit_of_bodies(photos_onnx, tmp_path):
    with http_server(tmp_path, f"photos={photos_onnx}", "--max-body", 0.001) as small:
        assert infer(small, {"input": batch(1)})[0] == 200
        assert "body must have at most 114,688 bytes, got 393," in infer(small, {"input": batch(8)})[1]
        assert small.request("POST", "/predict", b"0" * 2000)[0] == 413
