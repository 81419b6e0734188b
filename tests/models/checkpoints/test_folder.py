"""A folder stands for the weights in it, where there is no doubt which."""

import pytest

from hrnet_deploy.errors import CheckpointError, UsageError
from hrnet_deploy.models.checkpoints.load import load_checkpoint
from hrnet_deploy.models.weights import resolve_weights


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["config.json", "model.safetensors"], "model.safetensors"),
        (["config.json", "model.safetensors", "pytorch_model.bin", "README.md"], "model.safetensors"),
        (["net.yaml", "best.pth"], "best.pth"),
        (["HRNet_W18_C_pretrained.pdparams"], "HRNet_W18_C_pretrained.pdparams"),
    ],
)
def test_the_only_weights_are_taken(tmp_path, names, chosen):
    for name in names:
        (tmp_path / name).touch()
    assert resolve_weights(tmp_path) == tmp_path / chosen
    assert resolve_weights(str(tmp_path)) == tmp_path / chosen


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "with no weights"),
        (["a.pth", "b.pth"], r"with a\.pth, b\.pth\. Name the file"),
        ([f"{i}.pt" for i in range(9)], "and 5 more"),
        (["inference.pdmodel", "inference.pdiparams"], r"Paddle inference model.*\.pdparams.*paddle2onnx"),
        (["inference.json", "inference.pdiparams"], "Paddle inference model"),
        ([".metadata", "__0_0.distcp"], "distributed checkpoint"),
    ],
)
def test_doubts_are_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=message):
        resolve_weights(tmp_path)


# How files of paddle.jit.save begin (Paddle 3.3, with and without FLAGS_enable_pir_api).
PADDLE = {
    "inference.json": b'{"base_code":{"magic":"pir","trainable":true,"version":4},"program":{',
    "inference.pdmodel": bytes.fromhex("0aed27080010" + "ff" * 9 + "011a1c0a0c636f6e7632645f302e625f30"),
    "inference.pdiparams": bytes(16) + bytes.fromhex("0400000008051008") + bytes(32),
}


@pytest.mark.parametrize("name", PADDLE)
def test_paddle_inference_models_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(PADDLE[name])
    with pytest.raises(CheckpointError, match=r"Paddle inference model.*\.pdparams.*paddle2onnx.*hrnet-export"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
        (b"<!-- moved --><html>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "a web page"),
        (b"Entry not found", "text: 'Entry not found'"),
        (b'{"error": "Repository not found"}', "text: '.*Repository not found"),
        ("é".encode() * 300, "text: 'é"),
        (bytes(4096), "begins with zeros only"),
        (b"\x1b[2J\x07", "got bytes 1b 5b"),
    ],
)
def test_messages_saved_as_weights_are_named(tmp_path, content, message):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "net.pth")
