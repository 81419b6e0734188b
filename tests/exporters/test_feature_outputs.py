"""Features leave a graph before its precision changes, and come back as float32 outputs."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.exporters.feature_outputs import attach_features, detach_features, feature_infos
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.graph_edit import copy_of
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget

TEXT = (
    "g (float[N, 3, 8, 8] x) => (float[N, 4] y, float[N, 4] v, float[N, 4, 8, 8] m) "
    "{ [c1] a = Conv(x, w) [r1] b = Relu(a) [c2] c = Conv(b, u) [r2] m = Relu(c) [c3] d = Conv(m, u) "
    "[p] e = GlobalAveragePool(d) [f] v = Flatten(e) [g] y = Gemm(v, k) }"
)


@pytest.fixture
def model(parse, noise):
    weights = {"w": noise(4, 3, 1, 1), "u": noise(4, 4, 1, 1, seed=1), "k": noise(4, 4, seed=2)}
    return parse(TEXT, weights)


def names(model):
    return [output.name for output in model.graph.output]


def test_a_graph_without_its_features_is_that_of_the_scores(model):
    infos = feature_infos(model, ("m", "v"))
    bare = detach_features(copy_of(model), ("m", "v"))
    assert names(bare) == ["y"]
    assert bare.graph.node == model.graph.node
    assert names(attach_features(bare, infos)) == ["y", "m", "v"]
    onnx.checker.check_model(bare, full_check=True)


def test_features_alone_stay_outputs_unless_others_are_computed_from_them(model):
    del model.graph.output[0]
    del model.graph.node[-1]
    infos = feature_infos(model, ("m", "v"))
    bare = detach_features(model, ("m", "v"))
    assert names(bare) == ["v"]
    assert names(attach_features(bare, infos)) == ["m", "v"]


def test_half_features_are_cast(model, run, noise):
    infos, image = feature_infos(model, ("m", "v")), noise(2, 3, 8, 8)
    wanted = run(model, image, every=True)
    half = attach_features(to_fp16(detach_features(model, ("m", "v"))).model, infos)
    onnx.checker.check_model(half, full_check=True)
    for found, reference in zip(run(half, image, every=True), (wanted[0], wanted[2], wanted[1]), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, reference, atol=2e-2)


def test_the_layers_before_an_int8_feature_stay_in_int8(model, run, noise):
    infos, image = feature_infos(model, ("m", "v")), noise(2, 3, 8, 8)
    wanted = run(model, image, every=True)
    bare = detach_features(model, ("m", "v"))
    plan = place_qdq(bare, QdqTarget.CPU, ())
    span = ActivationRange(-10.0, 10.0)
    int8 = to_qdq(bare, plan, dict.fromkeys(plan.measured, span))
    before = [node.op_type for node in int8.graph.node]
    attach_features(int8, infos)
    onnx.checker.check_model(int8, full_check=True)
    assert [node.op_type for node in int8.graph.node] == [*before, "DequantizeLinear"]  # v is computed in float
    readers = [node.op_type for node in int8.graph.node if "features/m" in node.input]
    assert readers == ["QuantizeLinear"]
    for found, reference in zip(run(int8, image, every=True), (wanted[0], wanted[2], wanted[1]), strict=True):
        np.testing.assert_allclose(found, reference, atol=0.5)
