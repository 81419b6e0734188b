"""Weights stored in other ways that output the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.exporters.baked_weights import with_float_weights, with_rounded_weights
from hrnet_deploy.exporters.qdq import to_qdq, weight_scales
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget

RNG = np.random.default_rng(3)
WEIGHTS = RNG.normal(size=(6, 3, 3, 3)).astype(np.float32)


@pytest.fixture
def model():
    """A convolution whose weights are an initializer, and one whose are a Constant."""
    text = "g (float[1, 3, 8, 8] x) => (float[1, 6, A, B] y) { m = Conv(x, u) r = Relu(m) y = Conv(r, v) }"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {text}')
    model.graph.initializer.append(numpy_helper.from_array(WEIGHTS, "u"))
    second = RNG.normal(size=(6, 6, 1, 1)).astype(np.float32)
    constant = onnx.helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(second, "another name"))
    model.graph.node.insert(0, constant)
    return model


def output(model):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)})[0]


def as_tensorrt(weights):
    """INT8 weights as TensorRT makes them by itself."""
    scales = np.abs(weights.reshape(len(weights), -1)).max(axis=1).reshape(-1, 1, 1, 1) / np.float32(127)
    return np.rint(weights / scales).astype(np.int8), scales


def test_tensorrt_s_own_rounding_gives_the_rounded_levels_again(model):
    scales = weight_scales(WEIGHTS, per_channel=True).reshape(-1, 1, 1, 1)
    nearest = np.rint(WEIGHTS / scales).astype(np.int8)
    rounded = np.where(np.abs(nearest) < 120, nearest + RNG.integers(-1, 2, nearest.shape), nearest).astype(np.int8)
    rounded[5] = np.clip(rounded[5], -126, 126)  # its largest level is lost, so TensorRT would take another scale
    baked = with_rounded_weights(model, {"u": rounded})
    levels, own = as_tensorrt(numpy_helper.to_array(baked.graph.initializer[0]))
    np.testing.assert_array_equal(levels[:5], rounded[:5])
    np.testing.assert_allclose(own, scales, rtol=1e-6)
    np.testing.assert_array_equal(levels[5], nearest[5])
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), WEIGHTS)


def test_weights_in_a_constant_are_found(model):
    (weights,) = (numpy_helper.to_array(n.attribute[0].t) for n in model.graph.node if n.op_type == "Constant")
    levels = np.full(weights.shape, 127, np.int8)
    baked = with_rounded_weights(model, {"v": levels})
    found = numpy_helper.to_array(baked.graph.node[0].attribute[0].t)
    assert (np.abs(found) == np.abs(weights).max(axis=1, keepdims=True)).all()


@pytest.mark.parametrize("per_channel", [True, False])
def test_float_weights_behind_a_pair_give_the_same_bits(model, per_channel):
    layout = place_qdq(model, QdqTarget.TENSORRT, ())
    graph = to_qdq(model, layout, {n: ActivationRange(-4.0, 4.0) for n in layout.measured}, per_channel=per_channel)
    other = with_float_weights(graph)
    stored = {t.data_type for t in other.graph.initializer if len(t.dims) == 4}
    assert stored == {TensorProto.FLOAT}
    assert {t.data_type for t in graph.graph.initializer if len(t.dims) == 4} == {TensorProto.INT8}
    np.testing.assert_array_equal(output(other), output(graph))
    quantized = [node for node in other.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) == len({node.name for node in quantized}) == 4


def test_a_float_graph_is_left_alone(model):
    assert with_float_weights(model) == model
