import itertools

import numpy as np
import onnx
import pytest

from hrnet_deploy import export
from hrnet_deploy.engines.openvino.engine import OpenVinoEngine
from hrnet_deploy.engines.openvino.runtime import abilities, half_hint
from hrnet_deploy.engines.ort.engine import OrtEngine

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(32, 32, 3, 3)).astype(np.float32)


def net(dtype):
    """Three convolutions, in float32 or in float16 between float32 ends."""
    half = dtype == np.float16
    names = ["x", "a", "b", "y"]
    nodes = [
        onnx.helper.make_node("Conv", [source, f"w{i}"], [target], pads=[1] * 4)
        for i, (source, target) in enumerate(itertools.pairwise(names))
    ]
    if half:
        nodes[0].input[0], nodes[2].output[0] = "x16", "y16"
        nodes.insert(0, onnx.helper.make_node("Cast", ["x"], ["x16"], to=onnx.TensorProto.FLOAT16))
        nodes.append(onnx.helper.make_node("Cast", ["y16"], ["y"], to=onnx.TensorProto.FLOAT))
    shape = ["N", 32, 24, 24]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array((WEIGHTS / 17).astype(dtype), f"w{i}") for i in range(3)],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    return onnx.helper.make_model(graph, ir_version=9, opset_imports=opset).SerializeToString()


def error(engine):
    """Largest error, in units of the spread, against float32 on ONNX Runtime."""
    feed = {"x": RNG.normal(size=(1, 32, 24, 24)).astype(np.float32)}
    wanted = OrtEngine(net(np.float32), device="cpu").run(feed)["y"]
    return float(np.abs(engine.run(feed)["y"] - wanted).max() / wanted.std())


def test_float32_stays_float32_also_where_the_cpu_has_a_half_type(openvino_cpu):
    engine = OpenVinoEngine(net(np.float32))
    assert engine.arithmetic == "float32"
    assert error(engine) < 1e-4


def test_float16_runs_in_the_half_type_of_the_cpu(openvino_cpu):
    if half_hint() == "f32":
        pytest.skip(f"this CPU has no half precision: {', '.join(sorted(abilities()))}")
    engine = OpenVinoEngine(net(np.float16))
    assert engine.arithmetic in {"bfloat16", "float16"}
    # bfloat16 rounds to 8 bits: errors of float32 sums, 1e-6, would show that it is not used.
    assert 1e-4 < error(engine) < 0.1


def test_float16_runs_in_float32_on_a_cpu_without_a_half_type(openvino_cpu, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.engines.openvino.engine.half_hint", lambda: "f32")
    engine = OpenVinoEngine(net(np.float16))
    assert engine.arithmetic == "float32"
    assert error(engine) < 1e-2


def test_the_floating_point_rest_of_an_int8_graph_is_float32(openvino_cpu):
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) <float s = {0.1}, int8 z = {0}>"
        "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
    ).SerializeToString()
    assert OpenVinoEngine(model).arithmetic == "int8 and float32"


@pytest.mark.slow
def test_bfloat16_keeps_the_labels_of_the_street_net(openvino_cpu, demo, picture, tmp_path):
    if half_hint() == "f32":
        pytest.skip(f"this CPU has no half precision: {', '.join(sorted(abilities()))}")
    made = {"weights": demo / "hrnetv2_w18_small_v1_street.pth", "imgsz": (256, 320)}
    plain = export(**made, output=tmp_path / "fp32.onnx").path
    half = export(**made, precision="fp16", output=tmp_path / "fp16.onnx").path
    from hrnet_deploy import Predictor

    ours, theirs = Predictor(half, device="cpu"), Predictor(plain, device="cpu")
    assert ours.backend == theirs.backend == "openvino"
    assert (ours.arithmetic, theirs.arithmetic) == ({"bf16": "bfloat16", "f16": "float16"}[half_hint()], "float32")
    assert float(np.mean(ours.predict(picture).mask == theirs.predict(picture).mask)) > 0.98
