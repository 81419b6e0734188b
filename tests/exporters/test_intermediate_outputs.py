"""Taps: what they show is what the graph computes, and the graph itself stays as it was."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.exporters.intermediate_outputs import expose_tensors

TEXT = "g (float[N, 2, H, W] x) => (float[N, 2, H, W] y) { a = Relu(x) b = Neg(a) y = Exp(b) }"


@pytest.fixture
def model(parse):
    return parse(TEXT)


def test_values_from_the_inside_become_the_only_outputs(model, run, noise):
    content, outputs = expose_tensors(model, ["b", "a"])
    exposed = onnx.load_from_string(content)
    assert outputs == {"b": "b", "a": "a"}
    assert [v.name for v in exposed.graph.output] == ["b", "a"]
    x = noise(2, 2, 3, 5)
    b, a = run(exposed, x, every=True)
    np.testing.assert_array_equal(a, np.maximum(x, 0))
    np.testing.assert_array_equal(b, -np.maximum(x, 0))


def test_the_input_can_be_exposed_too(model, run, noise):
    content, outputs = expose_tensors(model, ["x", "y"])
    assert list(outputs.values()) == ["x", "y"]
    shown, _ = run(onnx.load_from_string(content), noise(1, 2, 3, 3), every=True)
    np.testing.assert_array_equal(shown, noise(1, 2, 3, 3))


@pytest.mark.parametrize(("values", "kept"), [(["a"], ["Relu"]), (["x"], ["Identity"]), (["b", "a"], ["Relu", "Neg"])])
def test_what_no_value_needs_is_not_run(model, values, kept):
    content, _ = expose_tensors(model, values)
    assert [node.op_type for node in onnx.load_from_string(content).graph.node] == kept


def test_what_a_graph_within_reads_is_kept(parse):
    branches = "then_branch = t () => (float[2] p) { p = Neg(a) }, else_branch = e () => (float[2] q) { q = Abs(a) }"
    model = parse(f"g (float[2] x, bool yes) => (float[2] y) {{ a = Relu(x) c = If(yes) <{branches}> y = Exp(c) }}")
    content, _ = expose_tensors(model, ["c"])
    assert [node.op_type for node in onnx.load_from_string(content).graph.node] == ["Relu", "If", "Exp"]


def test_the_graph_is_left_as_it_is(model):
    before = model.SerializeToString(deterministic=True)
    expose_tensors(model, ["x", "a", "y"])
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("kind", ["classification", "open segmentation"])
def test_every_value_a_plan_needs_can_be_exposed(simplified, run, noise, kind):
    from hrnet_deploy.calibration.qdq_placement import place_qdq
    from hrnet_deploy.qdq_plan import QdqTarget

    model = simplified(kind)
    names = place_qdq(model, QdqTarget.CPU, ()).measured
    content, outputs = expose_tensors(model, names)
    exposed = onnx.load_from_string(content)
    found = run(exposed, noise(1, 3, 64, 64), every=True)
    assert tuple(outputs.values()) == names
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in found)
