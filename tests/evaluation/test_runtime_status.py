"""Which models are measured on their target, which predict it, and which belong together."""

from pathlib import Path

import pytest

from hrnet_deploy.evaluation import ModelFacts
from hrnet_deploy.evaluation.runtime_status import prediction_pairs, runtime_status
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, ShapeRange, Task, TensorSpec

CALIBRATED = {"method": "entropy", "images_sha256": "2" * 64}


def _model(name, precision="fp32", *, device="cpu", backend="onnxruntime", weights="1" * 64, **quantization):
    card = ModelCard(
        task=Task.CLASSIFICATION,
        variant="hrnet_w18",
        classes=("cat", "dog"),
        preprocessing=Preprocessing(),
        precision=Precision(precision),
        inputs=(TensorSpec("input", "float32", ("batch", 3, 224, 224)),),
        outputs=(TensorSpec("logits", "float32", ("batch", 2)),),
        shapes=ShapeRange((1, 224, 224), (1, 224, 224), (8, 224, 224)),
        quantization=QuantizationInfo(**quantization) if quantization else None,
        lineage={"weights_sha256": weights},
    )
    return ModelFacts(
        name=name, path=Path(name), sha256="0" * 64, size_bytes=1, card=card, device=device, backend=backend
    )


@pytest.mark.parametrize(
    ("name", "precision", "device", "backend", "target", "status"),
    [
        ("a.onnx", "fp32", "cpu", "onnxruntime", "", "measured"),
        ("a.onnx", "fp16", "cpu", "onnxruntime", "", "predicted for a GPU"),
        ("a.onnx", "fp16", "cuda:0", "onnxruntime", "", "measured"),
        ("a.onnx", "int8", "cpu", "onnxruntime", "cpu", "measured"),
        ("a.onnx", "int8", "cpu", "onnxruntime", "tensorrt", "predicted for TensorRT"),
        ("a.onnx", "int8", "cuda:0", "onnxruntime", "tensorrt", "predicted for TensorRT"),
        ("a.onnx", "int8", "cuda:0", "onnxruntime-trt", "tensorrt", "measured"),
        ("a.engine", "int8", "cuda:0", "tensorrt", "tensorrt", "measured"),
        ("a.plan", "fp16", "cuda:0", "tensorrt-rtx", "", "measured"),
    ],
)
def test_status(name, precision, device, backend, target, status):
    quantization = {"target": target} if target else {}
    found = runtime_status(_model(name, precision, device=device, backend=backend, **quantization))
    assert found.status == status
    assert found.predicted == status.startswith("predicted")
    assert found.runtime == f"{backend} {device}"


def test_an_engine_stands_beside_the_graph_of_its_card():
    gpu = {"device": "cuda:0", "backend": "tensorrt"}
    models = [
        _model("w18.onnx"),
        _model("w18_int8.onnx", "int8", **CALIBRATED | {"target": "cpu"}),
        _model("w18_trt.onnx", "int8", **CALIBRATED | {"target": "tensorrt"}),
        _model("w18_int8.engine", "int8", **gpu, **CALIBRATED | {"target": "tensorrt"}),
        _model("w18.engine", **gpu),
        _model("w18_fp16.engine", "fp16", **gpu),
    ]
    found = prediction_pairs(models, [0.8, 0.7, 0.71, 0.705, 0.8, 0.8])
    assert [(pair.predicted, pair.measured) for pair in found] == [(2, 3), (0, 4)]
    assert found[0].gap == pytest.approx(-0.5)


@pytest.mark.parametrize(
    "other",
    [
        {"weights": "9" * 64},
        {"method": "minmax"},
        {"images_sha256": "9" * 64},
        {"kept_in_float": ("stage4",)},
    ],
)
def test_another_origin_is_no_pair(other):
    recipe = CALIBRATED | {"target": "tensorrt"}
    engine = _model("a.engine", "int8", device="cuda:0", backend="tensorrt", **recipe | other)
    assert prediction_pairs([_model("a.onnx", "int8", **recipe), engine], [0.5, 0.5]) == ()
