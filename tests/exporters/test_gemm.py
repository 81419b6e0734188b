import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.gemm import gemm_to_conv
from hrnet_deploy.exporters.onnx_file import read


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


def output(model, feed):
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
    np.testing.assert_allclose(output(rewritten, {"x": x})[0], output(model, {"x": x})[0], rtol=1e-5, atol=1e-5)


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
    np.testing.assert_allclose(output(rewritten, {"input": x})[0], output(model, {"input": x})[0], atol=2e-3)
