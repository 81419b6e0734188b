import collections

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from hrnet_deploy.errors import ExportError
from hrnet_deploy.exporters.fp16 import FP16_MAX, to_fp16

HALF_STEP = 2.0**-10


def kinds(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def weights(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def node_types(model):
    """Name -> dtype of each node's first output, as ONNX infers it."""
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    return {node.name or node.output[0]: TensorProto.DataType.Name(types[node.output[0]]) for node in model.graph.node}


def types(model):
    return [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size"), [("classification", (64, 64)), ("segmentation", (64, 96))])
def test_an_hrnet_becomes_half_between_one_cast_in_and_one_cast_out(simplified, run, noise, kind, size):
    original = simplified(kind)
    before = original.SerializeToString()
    converted = to_fp16(original)
    assert original.SerializeToString() == before
    assert kinds(converted.model) - kinds(original) == {"Cast": 2}
    assert types(converted.model) == [TensorProto.FLOAT, TensorProto.FLOAT]
    assert converted.kept == ()
    images = noise(1, 3, *size)
    wanted = run(original, images)
    assert np.abs(run(converted.model, images) - wanted).max() <= 2e-2 * wanted.std()


def test_no_float_weight_is_left_but_the_scales_of_resizes(simplified):
    model = to_fp16(simplified("segmentation")).model
    scales = {node.input[2] for node in model.graph.node if node.op_type == "Resize"}
    assert scales
    assert {name for name, array in weights(model).items() if array.dtype == np.float32} == scales


@pytest.mark.slow
def test_a_graph_with_an_open_size_converts_with_its_shape_arithmetic_whole(simplified, run, noise):
    original = simplified("open segmentation")
    converted = to_fp16(original).model
    for size in ((64, 96), (50, 70)):
        images = noise(1, 3, *size)
        wanted = run(original, images)
        assert np.abs(run(converted, images) - wanted).max() <= 2e-2 * wanted.std()


def test_kept_nodes_stay_float_with_casts_only_at_their_edges(parse, run, noise):
    model = parse("g (float[4] x) => (float[4] y) { [first] a = Relu(x) [second] b = Exp(a) [third] y = Neg(b) }")
    converted = to_fp16(model, {"second"})
    assert converted.kept == ("second",)
    found = node_types(converted.model)
    assert (found["first"], found["second"]) == ("FLOAT16", "FLOAT")
    assert kinds(converted.model)["Cast"] == 4
    np.testing.assert_allclose(run(converted.model, noise(4)), run(model, noise(4)), rtol=4 * HALF_STEP)


def test_a_chain_of_kept_nodes_has_no_cast_inside(parse):
    model = parse("g (float[4] x) => (float[4] y) { [p] a = Relu(x) [q] b = Exp(a) [r] y = Neg(b) }")
    assert kinds(to_fp16(model, {"p", "q", "r"}).model)["Cast"] == 0
    assert kinds(to_fp16(model, {"p", "q"}).model)["Cast"] == 2


def test_a_node_without_a_name_is_kept_by_its_output(parse):
    model = parse("g (float[4] x) => (float[4] y) { a = Exp(x) y = Neg(a) }")
    converted = to_fp16(model, {"a"})
    assert converted.kept == ("a",)
    assert node_types(converted.model)["a"] == "FLOAT"


@pytest.mark.parametrize("large", [1e5, -1e5, 65520.0, np.inf])
def test_a_weight_beyond_half_keeps_its_node_in_float(parse, run, large):
    model = parse("g (float[2] x) => (float[2] y) { [big] a = Mul(x, w) [rest] y = Relu(a) }", {"w": [1, large]})
    converted = to_fp16(model)
    assert converted.kept == ("big",)
    x = np.array([2, 1e-3], np.float32)
    np.testing.assert_allclose(run(converted.model, x), np.maximum(x * [1, large], 0).astype(np.float16), rtol=2e-3)


def test_the_largest_half_is_no_overflow(parse):
    model = parse("g (float[2] x) => (float[2] y) { [big] y = Mul(x, w) }", {"w": [FP16_MAX, -FP16_MAX]})
    converted = to_fp16(model)
    assert converted.kept == ()
    assert weights(converted.model)["w_fp16"].tolist() == [FP16_MAX, -FP16_MAX]


def test_weights_that_become_zero_are_counted_once_and_zeros_are_not(parse):
    model = parse("g (float[4] x) => (float[4] y) { a = Mul(x, w) y = Add(a, w) }", {"w": [1e-9, -1e-9, 0, 1e-4]})
    assert to_fp16(model).underflowed == 2
    assert to_fp16(model, {"a", "y"}).underflowed == 0


def test_a_weight_of_a_kept_and_a_converted_node_exists_in_both_types(parse, run, noise):
    model = parse("g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> { [k] a = Mul(x, w) [c] y = Add(a, w) }")
    converted = to_fp16(model, {"k"})
    assert {name: array.dtype.name for name, array in weights(converted.model).items()} == {
        "w": "float32",
        "w_fp16": "float16",
    }
    np.testing.assert_allclose(run(converted.model, noise(4)), run(model, noise(4)), atol=8 * HALF_STEP)


def test_a_constant_used_as_scales_and_in_arithmetic_serves_both(parse, run, noise):
    model = parse(
        "g (float[1, 1, 2, 4] x) => (float[1, 1, 4, 8] y) {"
        "f = Constant<value = float[4] {1, 1, 2, 2}>() a = Add(x, f) y = Resize(a, , f) }"
    )
    converted = to_fp16(model)
    assert kinds(converted.model) == {"Cast": 2, "Add": 1, "Resize": 1}
    images = noise(1, 1, 2, 4)
    np.testing.assert_allclose(run(converted.model, images), run(model, images), atol=8 * HALF_STEP)


def test_scales_that_are_computed_reach_the_resize_as_float(parse, run, noise):
    model = parse(
        "g (float[1, 1, 2, 4] x, float[4] s) => (float[A, B, C, D] y) <float[4] one = {1, 1, 1, 1}> {"
        "f = Mul(s, one) y = Resize(x, , f) }"
    )
    converted = to_fp16(model).model
    inputs = noise(1, 1, 2, 4), np.array([1, 1, 2, 2], np.float32)
    np.testing.assert_allclose(run(converted, *inputs), run(model, *inputs), atol=4 * HALF_STEP)


@pytest.mark.parametrize("value", ["value_float = 2.0", "value_floats = [2.0, 3.0]", "value = float {2.0}"])
def test_constants_of_every_spelling_become_half_weights(parse, run, noise, value):
    model = parse(f"g (float[2] x) => (float[2] y) {{ c = Constant<{value}>() y = Mul(x, c) }}")
    converted = to_fp16(model).model
    assert "Constant" not in kinds(converted)
    np.testing.assert_allclose(run(converted, noise(2)), run(model, noise(2)), atol=4 * HALF_STEP)


def test_whole_number_constants_stay_what_they_are(parse, run, noise):
    model = parse("g (float[4] x) => (float[2, 2] y) { s = Constant<value_ints = [2, 2]>() y = Reshape(x, s) }")
    np.testing.assert_allclose(run(to_fp16(model).model, noise(4)), noise(4).reshape(2, 2), atol=4 * HALF_STEP)


@pytest.mark.parametrize("keep", [(), ("a",), ("b",), ("y",), ("a", "y")])
def test_an_output_that_is_also_read_inside_is_float_outside_and_computed_once(parse, run, noise, keep):
    model = parse("g (float[4] x) => (float[4] a, float[4] y) { a = Relu(x) b = Exp(a) y = Neg(b) }")
    converted = to_fp16(model, keep).model
    assert types(converted) == [TensorProto.FLOAT] * 3
    assert kinds(converted)["Relu"] == 1
    for found, wanted in zip(run(converted, noise(4), every=True), run(model, noise(4), every=True), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=4 * HALF_STEP)


def test_reading_an_output_inside_needs_no_cast_back(parse):
    model = parse("g (float[4] x) => (float[4] a, float[4] y) { a = Relu(x) y = Neg(a) }")
    assert kinds(to_fp16(model).model)["Cast"] == 3


def test_sizes_computed_in_float_stay_exact_beyond_what_half_can_count(parse):
    model = parse(
        "g (float[N, M] x) => (int64[2] y, float[N, M] z) <float[1] k = {2}> "
        "{ s = Shape(x) f = Cast<to = 1>(s) a = Mul(f, k) b = Floor(a) y = Cast<to = 7>(b) z = Mul(x, k) }"
    )
    converted = to_fp16(model)
    assert converted.kept == ()
    # In NumPy, since ONNX Runtime's CPU provider computes half graphs in float.
    sizes, _ = ReferenceEvaluator(converted.model).run(None, {"x": np.zeros((2049, 1537), np.float32)})
    assert sizes.tolist() == [4098, 3074]


def test_an_input_read_twice_is_cast_once(parse):
    model = parse("g (float[4] x) => (float[4] y) { a = Relu(x) b = Neg(x) y = Add(a, b) }")
    assert kinds(to_fp16(model).model)["Cast"] == 2


def test_an_input_or_a_weight_may_be_an_output_itself(parse, run, noise):
    model = parse(
        "g (float[4] x) => (float[4] y, float[4] w, float[4] z) <float[4] w = {1, 2, 3, 4}> "
        "{ y = Add(x, w) z = Identity(x) }"
    )
    found = run(to_fp16(model).model, noise(4), every=True)
    np.testing.assert_allclose(found[0], noise(4) + np.arange(1, 5), atol=8 * HALF_STEP)
    assert found[1].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(found[2], noise(4), atol=4 * HALF_STEP)


def test_an_input_handed_straight_out_stays_float(run, noise):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result, value])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    np.testing.assert_array_equal(run(to_fp16(model).model, noise(4), every=True)[1], noise(4))


@pytest.mark.parametrize("value", ["", "<value = float[1] {1.5}>", "<value = int64[1] {3}>"])
@pytest.mark.parametrize("keep", [(), ("c",)])
def test_filled_tensors_are_created_in_the_type_their_reader_computes_in(parse, run, noise, value, keep):
    cast = "d = Cast<to = 1>(c)" if "int64" in value else "d = Identity(c)"
    model = parse(
        f"g (float[2, 3] x) => (float[2, 3] y) {{ s = Shape(x) c = ConstantOfShape{value}(s) {cast} y = Add(x, d) }}"
    )
    converted = to_fp16(model, keep).model
    np.testing.assert_allclose(run(converted, noise(2, 3)), run(model, noise(2, 3)), atol=8 * HALF_STEP)


@pytest.mark.parametrize("keep", [(), ("c",)])
def test_bytes_cast_to_float_are_cast_to_half_unless_kept(parse, run, keep):
    model = parse("g (uint8[4] x) => (float[4] y) { c = Cast<to = 1>(x) y = Sqrt(c) }")
    converted = to_fp16(model, keep)
    assert node_types(converted.model)["c"] == ("FLOAT" if keep else "FLOAT16")
    x = np.array([0, 1, 100, 255], np.uint8)
    np.testing.assert_allclose(run(converted.model, x), np.sqrt(x.astype(np.float32)), rtol=2 * HALF_STEP)


def test_whole_number_outputs_are_not_touched(parse, run, noise):
    model = parse("g (float[2, 5] x) => (int64[2] y) { a = Relu(x) y = ArgMax<axis = 1, keepdims = 0>(a) }")
    np.testing.assert_array_equal(run(to_fp16(model).model, noise(2, 5)), run(model, noise(2, 5)))


def test_a_graph_half_cannot_express_is_refused_in_one_line(parse):
    model = parse(
        "g (float[1, 2, 4] b, float[1, 1, 2] s) => (int64[N, 3] y) {"
        "m = Constant<value_ints = [1]>() c = Relu(b) y = NonMaxSuppression(c, s, m) }"
    )
    with pytest.raises(ExportError, match=r"^FP16 graph must be valid, got .*\. Report this graph; use fp32\.$"):
        to_fp16(model)


@st.composite
def graphs(draw):
    """A random graph of Conv, Add, Mul and Relu over float (1, 2, 5, 5), with random outputs, and a random keep set."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values, nodes, tensors = ["x"], [], []
    for index in range(draw(st.integers(1, 8))):
        kind, a = draw(st.sampled_from(["Conv", "Add", "Mul", "Relu"])), draw(st.sampled_from(values))
        inputs = [a]
        if kind == "Conv":
            tensors.append(numpy_helper.from_array((rng.normal(size=(2, 2, 3, 3)) / 4).astype(np.float32), f"w{index}"))
            inputs.append(f"w{index}")
        elif kind != "Relu":
            constants = [t.name for t in tensors if len(t.dims) == 1]
            other = draw(st.sampled_from([*values, *constants, "new"]))
            if other == "new":
                tensors.append(numpy_helper.from_array(rng.uniform(-1, 1, 1).astype(np.float32), f"w{index}"))
                other = f"w{index}"
            inputs.append(other)
        attributes = {"pads": [1, 1, 1, 1]} if kind == "Conv" else {}
        name = draw(st.sampled_from([f"n{index}", ""]))
        nodes.append(helper.make_node(kind, inputs, [f"v{index}"], name, **attributes))
        values.append(f"v{index}")
    outs = draw(st.lists(st.sampled_from(values[1:]), min_size=1, max_size=3, unique=True))
    shape = [1, 2, 5, 5]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, shape) for o in outs],
        tensors,
    )
    keep = draw(st.sets(st.sampled_from([n.name or n.output[0] for n in nodes])))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), keep


@pytest.mark.slow
@given(graphs())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_graph_with_any_keep_set_stays_valid_and_close(run, noise, drawn):
    model, keep = drawn
    converted = to_fp16(model, keep)
    assert set(converted.kept) == keep
    found = node_types(converted.model)
    assert all(found[name] == "FLOAT" for name in keep)
    images = noise(1, 2, 5, 5, scale=0.5)
    # Every value must be close, so errors of half are measured against the largest there is.
    largest = max(1.0, *(np.abs(v).max() for v in run(every_value(model), images, every=True, optimize=False)))
    for ours, wanted in zip(run(converted.model, images, every=True), run(model, images, every=True), strict=True):
        assert ours.dtype == np.float32
        assert np.abs(ours - wanted).max() <= 64 * HALF_STEP * largest


def every_value(model):
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(
        helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for n in model.graph.node for o in n.output
    )
    return exposed
