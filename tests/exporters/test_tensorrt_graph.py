"""Weights stored in other ways that output the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.onnx_file import read
from hrnet_deploy.exporters.qdq import to_qdq, weight_scales
from hrnet_deploy.exporters.tensorrt_graph import gemm_to_conv, with_float_weights, with_rounded_weights
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


def dense(matrix, bias, **attributes):
    """One Gemm over an (N, K) input."""
    rows = matrix.shape[1] if attributes.get("transB") else matrix.shape[0]
    tensors = [numpy_helper.from_array(matrix, "w")]
    if bias is not None:
        tensors.append(numpy_helper.from_array(bias, "b"))
    node = helper.make_node("Gemm", ["x", *(t.name for t in tensors)], ["y"], "fc", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "k"])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def computed(model, feed):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    trans=st.booleans(),
    bias=st.sampled_from([None, "vector", "row"]),
    alpha=st.sampled_from([1.0, 0.5]),
    beta=st.sampled_from([1.0, 2.0]),
    seed=st.integers(0, 99),
)
def test_same_sums(shape, trans, bias, alpha, beta, seed):
    rng = np.random.default_rng(seed)
    inner, outer = shape
    matrix = rng.standard_normal((outer, inner) if trans else (inner, outer)).astype(np.float32)
    added = None if bias is None else rng.standard_normal((outer,) if bias == "vector" else (1, outer))
    added = None if added is None else added.astype(np.float32)
    model = dense(matrix, added, transB=int(trans), alpha=alpha, beta=beta)
    rewritten = gemm_to_conv(model)
    onnx.checker.check_model(rewritten, full_check=True)
    assert [n.op_type for n in rewritten.graph.node] == ["Unsqueeze", "Conv", "Flatten"]
    x = rng.standard_normal((3, inner)).astype(np.float32)
    np.testing.assert_allclose(computed(rewritten, {"x": x})[0], computed(model, {"x": x})[0], rtol=1e-5, atol=1e-5)


def test_a_scalar_bias_stays_a_gemm():
    model = dense(np.ones((4, 3), np.float32), np.ones(1, np.float32))
    assert [n.op_type for n in gemm_to_conv(model).graph.node] == ["Gemm"]


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_a_classifier_keeps_its_outputs(photos_onnx, half):
    model = read(photos_onnx)
    model = to_fp16(model).model if half else model
    before = model.SerializeToString()
    rewritten = gemm_to_conv(model)
    assert model.SerializeToString() == before
    assert "Gemm" not in {n.op_type for n in rewritten.graph.node}
    onnx.checker.check_model(rewritten, full_check=True)
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(computed(rewritten, {"input": x})[0], computed(model, {"input": x})[0], atol=2e-3)
