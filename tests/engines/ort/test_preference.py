import dataclasses
import json

import pytest

from hrnet_deploy.artifact.card import CARD_KEY
from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.engines.openvino.engine import computes_in_half
from hrnet_deploy.engines.ort import load
from hrnet_deploy.engines.ort.load import prefers_openvino

BIG = {"input": ("N", 3, 224, 224)}
INTEGERS = frozenset({"QuantizeLinear", "Conv"})


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (OnnxHeader({}, INTEGERS, BIG), True),
        (OnnxHeader({}, INTEGERS, {"input": (8, 3, 224, 224)}), True),
        (OnnxHeader({}, INTEGERS, {"input": ("N", 224, 224, 3)}), True),
        (OnnxHeader({}, frozenset({"Conv"}), BIG), True),
        (OnnxHeader({}, frozenset({"Conv"}), BIG, filters=frozenset({"float16"})), True),
        (OnnxHeader({}, INTEGERS, {"input": ("N", 3, "H", "W")}), True),
        (OnnxHeader({}, INTEGERS, {"input": ("N", 3, 64, 64)}), False),
        (OnnxHeader({}, INTEGERS, {}), False),
        (OnnxHeader(), False),
    ],
)
def test_graphs_of_photos_prefer_openvino_where_it_is_installed(monkeypatch, header, expected):
    monkeypatch.setattr(load, "is_installed", lambda: True)
    assert prefers_openvino(header) is expected
    monkeypatch.setattr(load, "is_installed", lambda: False)
    assert not prefers_openvino(header)


@pytest.mark.parametrize(("target", "expected"), [("cpu", True), ("tensorrt", False)])
def test_what_is_laid_out_for_tensorrt_is_computed_as_written(monkeypatch, photos_onnx, target, expected):
    monkeypatch.setattr(load, "is_installed", lambda: True)
    card = json.loads(read_header(photos_onnx).metadata[CARD_KEY])
    card["quantization"] = {"target": target}
    assert prefers_openvino(OnnxHeader({CARD_KEY: json.dumps(card)}, INTEGERS, BIG)) is expected


@pytest.mark.parametrize(
    ("half", "precision", "expected"),
    [(True, None, True), (False, None, False), (True, "fp16", True), (True, "fp32", False), (True, "int8", True)],
)
def test_half_precision_is_what_weights_and_card_state(photos_onnx, half, precision, expected):
    header = read_header(photos_onnx)
    card = json.loads(header.metadata[CARD_KEY]) | {"precision": precision}
    metadata = {CARD_KEY: json.dumps(card)} if precision else {}
    assert (
        computes_in_half(
            dataclasses.replace(header, metadata=metadata, filters=frozenset({"float16" if half else "float32"}))
        )
        is expected
    )
