"""Taps: what they show is what the graph computes, and the graph itself stays as it was."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from hrnet_deploy.exporters import intermediate_outputs
from hrnet_deploy.exporters.fp16 import fp16_overflows, to_fp16
from hrnet_deploy.exporters.intermediate_outputs import expose_absmax, expose_tensors, with_graph

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


@pytest.fixture
def weighted(parse):
    text = "g (float[N, 400] x) => (float[N, 400] y) { s = Add(x, w) y = Mul(s, v) }"
    created = parse(text, {"w": np.arange(400), "v": np.linspace(0, 1, 400)})
    created.metadata_props.add(key="k", value="ü")
    return created


def test_the_same_parts_give_the_same_model(weighted):
    content = with_graph(weighted, weighted.graph.node, weighted.graph.output)
    assert onnx.load_from_string(content).SerializeToString(deterministic=True) == weighted.SerializeToString(
        deterministic=True
    )


def test_other_nodes_read_the_same_weights(weighted, run, noise):
    nodes = [onnx.helper.make_node("Sub", ["x", "w"], ["z"])]
    output = onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 400])
    changed = onnx.load_from_string(with_graph(weighted, nodes, [output]))
    np.testing.assert_array_equal(run(changed, noise(2, 400)), noise(2, 400) - np.arange(400, dtype=np.float32))


@pytest.mark.parametrize(
    "expose", [lambda graph: intermediate_outputs.expose_tensors(graph, ["s"]), intermediate_outputs.expose_absmax]
)
def test_a_graph_stays_as_it_is_when_its_bytes_cannot_be_created(weighted, expose, monkeypatch):
    """What fails on the way, such as for lack of memory, leaves nothing half done."""
    before = weighted.SerializeToString(deterministic=True)

    def fails(*_words, **_more):
        raise MemoryError

    monkeypatch.setattr(intermediate_outputs, "with_graph", fails)
    with pytest.raises(MemoryError):
        expose(weighted)
    assert weighted.SerializeToString(deterministic=True) == before


def exposed(model):
    """The graph with every value as output, and their names."""
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {v.name for v in inferred.graph.value_info}
    values = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}
    names = [o for n in inferred.graph.node for o in n.output if o in known or o == model.graph.output[0].name]
    del inferred.graph.output[:]
    inferred.graph.output.extend(values[name] for name in names)
    return inferred, names


def in_half(model, x):
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {"x": x})[0]


def measured(run, model, *inputs):
    content, outputs = expose_absmax(model)
    return dict(
        zip(outputs.values(), map(float, run(onnx.load_from_string(content), *inputs, every=True)), strict=True)
    )


@pytest.mark.slow
def test_the_largest_values_are_those_of_the_whole_tensors(simplified, run, noise):
    model, images = simplified("classification"), noise(2, 3, 64, 64)
    before = model.SerializeToString()
    found = measured(run, model, images)
    everything, names = exposed(model)
    wanted = dict(zip(names, run(everything, images, every=True), strict=True))
    floats = {name: np.abs(value).max() for name, value in wanted.items() if value.dtype == np.float32}
    assert len(floats) > 200
    assert found == pytest.approx(floats, rel=1e-4, abs=1e-6)
    assert model.SerializeToString() == before


def test_only_float_values_are_exposed(parse, run, noise):
    model = parse("g (float[2, 3] x) => (int64[2] y) { a = Exp(x) y = ArgMax<axis = 1, keepdims = 0>(a) }")
    assert list(measured(run, model, noise(2, 3))) == ["a"]


# ONNX Runtime's ReduceMax passes over NaN; a float32 model that makes one fails the comparison with its original.
@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_an_infinite_value_is_not_lost_in_the_maximum(parse, run, value, place):
    model = parse("g (float[1000] x) => (float[1000] y) { [n] y = Neg(x) }")
    x = np.ones(1000, np.float32)
    x[place] = value
    found = measured(run, model, x)
    assert not np.isfinite(found["y"])
    assert fp16_overflows(model, found) == {"n"}


CHAIN = "g (float[2] x) => (float[2] y) { [one] a = Relu(x) b = Exp(a) [three] c = Neg(b) [four] y = Abs(c) }"


@pytest.mark.parametrize(
    ("large", "kept"),
    [
        ({}, set()),
        ({"a": 1.0, "b": 32752.0, "c": 6.2e-5}, set()),
        ({"b": 32753.0}, {"b", "three"}),
        ({"a": 1e9}, {"one", "b"}),
        ({"b": np.nan}, {"b", "three"}),
        ({"c": np.inf}, {"three", "four"}),
        ({"c": 6.0e-5}, {"three", "four"}),
        ({"c": 0.0}, set()),
        ({"x": 1e6}, {"one"}),
    ],
)
def test_what_makes_and_what_reads_a_value_beyond_half_is_named(parse, large, kept):
    assert fp16_overflows(parse(CHAIN), large) == kept


def test_a_model_whose_values_overflow_half_is_right_once_the_named_nodes_are_kept(parse, run):
    model = parse(
        "g (float[2] x) => (float[2] y) <float[1] k = {1000}> "
        "{ a = Mul(x, k) b = Mul(a, k) c = Div(b, k) y = Div(c, k) }"
    )
    x = np.array([1, 2], np.float32)
    # ONNX Runtime's CPU provider computes half graphs in float, so NumPy has to show what a GPU would.
    assert not np.isfinite(in_half(to_fp16(model).model, x)).all()
    kept = fp16_overflows(model, measured(run, model, x))
    assert kept == {"b", "c"}
    np.testing.assert_allclose(in_half(to_fp16(model, kept).model, x), x, rtol=4e-3)
