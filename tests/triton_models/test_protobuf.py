"""Every configuration against Triton's own message, as tritonclient has it."""

import json
import subprocess

import pytest
from helpers.peer_environment import peer_python

from hrnet_deploy import write_triton_repository
from hrnet_deploy.triton.config_update import parameters_of, read_config

pytestmark = pytest.mark.slow

READER = """
import importlib.util, json, sys
from pathlib import Path
from google.protobuf import json_format, text_format
spec = importlib.util.find_spec("tritonclient")
path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("model_config_pb2", path))
module.__spec__.loader.exec_module(module)
for name in sys.argv[1:]:
    message = text_format.Parse(Path(name).read_text(encoding="utf-8"), module.ModelConfig())
    print(json.dumps(json_format.MessageToDict(message, preserving_proto_field_name=True)))
"""
"""Reads the module by its path: the package around it needs gRPC."""


@pytest.fixture(scope="module")
def python():
    return peer_python("tritonclient", "protobuf>=6.33,<8", without_dependencies=("tritonclient==2.73.0",))


def read(python, *paths):
    return subprocess.run([python, "-W", "error", "-c", READER, *paths], capture_output=True, text=True, check=False)


def test_every_configuration_is_a_message_of_triton(python, artifacts, engine, tmp_path):
    models = tmp_path / "models"
    for path in (*artifacts.values(), engine()):
        write_triton_repository(path, models, images=True)
    paths = sorted(models.glob("*/config.pbtxt"))
    done = read(python, *paths)
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(messages) == len(paths) == 2 * (len(artifacts) + 1)
    for path, message in zip(paths, messages, strict=True):
        ours = read_config(path)
        texts = {key: value["string_value"] for key, value in message["parameters"].items()}
        assert texts == parameters_of(ours)
        assert message["name"] == path.parent.name
        assert message.get("max_batch_size", 0) == ours["max_batch_size"][0]
        for place in ("input", "output"):
            dims = [[int(size) for size in entry["dims"]] for entry in message[place]]
            assert dims == [entry["dims"] for entry in ours[place]]


def test_a_field_that_triton_does_not_know_is_refused(python, artifacts, tmp_path):
    model = write_triton_repository(artifacts["fp32.onnx"], tmp_path / "models")
    config = model.path / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size", "max_batchsize"))
    done = read(python, config)
    assert done.returncode != 0
    assert 'no field named "max_batchsize"' in done.stderr
