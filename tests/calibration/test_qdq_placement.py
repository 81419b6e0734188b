"""Where Q/DQ pairs go, on graphs small enough to check by hand."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.calibration.qdq_placement import (
    float_by_default,
    name_of,
    place_qdq,
    residual_inputs,
    threshold_floors,
)
from hrnet_deploy.qdq_plan import QdqTarget, Residual

CPU, TENSORRT = QdqTarget.CPU, QdqTarget.TENSORRT
SHAPES = {"s1": (4, 3, 3, 3), "s2": (4, 4, 3, 3), "w": (4, 4, 1, 1), "h": (2, 4, 1, 1), "b": (4,)}
BODY = """
    [stem1] a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, s1, b) [stem1r] ar = Relu(a)
    [stem2] c = Conv<pads = [1, 1, 1, 1]>(ar, s2, b) [stem2r] cr = Relu(c)
    [one] d = Conv(cr, w, b) [one_r] dr = Relu(d)
    [two] e = Conv(dr, w, b) [sum] f = Add(e, cr) [sum_r] fr = Relu(f)
    [down] g = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(fr)
    [low] i = Conv(g, w, b)
    [up] u = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(i, , factors)
    [fuse] j = Add(fr, u) [fuse_r] jr = Relu(j)
    [last] k = Conv(jr, w, b) [cat] m = Concat<axis = 1>(k, u)
    [squeeze] n = Conv(m, wide, b) [head] y = Conv(n, h)
"""


def parse(body, outputs="float[N, C, A, B] y", **shapes):
    text = f"g (float[N, 3, H, W] x) => ({outputs}) <float[4] factors = {{1, 1, 2, 2}}> {{ {body} }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    rng = np.random.default_rng(0)
    for name, shape in {**SHAPES, "wide": (4, 8, 1, 1), **shapes}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture(scope="module")
def model():
    """Stem, residual block, pooling, upsampling, fusion, concat, head: HRNet in small."""
    return parse(BODY)


def test_the_stem_s_first_convolution_stays_in_floating_point_for_tensorrt_all_of_it_and_the_last_layer(model):
    assert float_by_default(model, CPU) == {"stem1", "stem1r"}
    assert float_by_default(model, TENSORRT) == {"stem1", "stem1r", "stem2", "stem2r", "head"}


def test_the_stem_is_not_clipped_harder_than_it_stands(model):
    assert threshold_floors(model) == {"x": "minmax", "ar": "mse"}


def test_for_the_cpu_the_last_layer_reads_int8_and_computes_floats(model):
    found = place_qdq(model, CPU, ())
    assert {"head", "stem1", "stem2"} <= found.weighted
    assert found.readers["n"] == {"head"}
    assert "y" not in found.tensors


@pytest.mark.parametrize(
    ("attributes", "integer"),
    [("transB = 1", True), ("transB = 1, alpha = 1.0", True), ("transB = 0", False), ("transB = 1, beta = 2.0", False)],
)
def test_for_the_cpu_a_classifier_reads_int8_where_each_row_of_its_weights_makes_an_output(attributes, integer):
    model = parse(
        BODY.replace(
            "[head] y = Conv(n, h)",
            f"p = GlobalAveragePool(n) q = Flatten(p) [head] y = Gemm<{attributes}>(q, square, b)",
        ),
        "float[N, C] y",
        square=(4, 4),
    )
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    assert ("head" in found.weighted) == ("q" in found.tensors) == integer
    assert "y" not in found.tensors
    assert "head" not in place_qdq(model, TENSORRT, ()).weighted


@pytest.mark.parametrize(
    "tail",
    [
        "[t] y = Relu(n)",
        "[t] y = Resize<mode = 'linear'>(n, , factors)",
        "[t1] o = Softmax<axis = 1>(n) [t2] y = Identity(o)",
    ],
)
def test_whatever_follows_the_last_convolution_stays_with_it(tail):
    model = parse(BODY.replace("[head] y = Conv(n, h)", tail.replace("'", '"')))
    found = float_by_default(model, TENSORRT)
    assert {"squeeze"} <= found
    assert not found & {"one", "last", "cat"}
    integer = place_qdq(model, CPU, ())
    assert "squeeze" in integer.weighted
    assert not {"n", "o", "y"} & set(integer.tensors)


@pytest.mark.parametrize("target", [CPU, TENSORRT])
def test_every_convolution_but_the_kept_ones_is_weighted(model, target):
    keep = float_by_default(model, target) | {"two"}
    convolutions = {n.name for n in model.graph.node if n.op_type == "Conv"}
    assert place_qdq(model, target, keep).weighted == convolutions - keep


def test_for_the_cpu_every_value_between_integer_nodes_has_a_pair(model):
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    assert found.tensors == ("ar", "cr", "dr", "e", "fr", "g", "i", "u", "jr", "k", "m", "n")
    assert found.readers["cr"] == {"one", "sum"}
    assert found.readers["n"] == {"head"}


def test_for_the_cpu_a_relu_belongs_to_what_it_clips(model):
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    assert not {"d", "f", "j"} & set(found.tensors)


def test_a_sum_without_a_relu_is_a_value_of_its_own():
    found = place_qdq(parse(BODY.replace("[fuse_r] jr = Relu(j)", "[fuse_r] jr = Identity(j)")), CPU, ())
    assert "j" in found.tensors
    assert "jr" in found.tensors
    assert found.readers["jr"] == {"last"}


LOW = """
    [stem1] a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, s1, b) [stem2] v = Conv(a, w, b) [stem2r] ar = Relu(v)
    [high] c = Conv(ar, w, b) [high_sum] d = Add(c, ar) [high_r] dr = Relu(d)
    [step] e = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(dr, s2, b) [step_r] er = Relu(e)
    [low] f = Conv(er, w, b) [low_sum] g = Add(f, er) [low_r] hr = Relu(g)
    [side] i = Conv(hr, w, b) [up] u = Resize<mode = "nearest">(i, , factors)
    [fuse] j = Add(u, dr) [fuse_r] jr = Relu(j)
    [down] k = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(dr, s2, b) [part] m = Add(k, hr) [all] n = Add(m, k)
    [all_r] nr = Relu(n) [back] o = Conv(nr, w, b) [up2] p = Resize<mode = "nearest">(o, , factors) [end] q = Add(p, jr)
    [one] r = Conv(q, w, b) [head] y = Conv(r, h)
"""


def test_for_the_cpu_sums_on_smaller_maps_than_the_largest_are_floats():
    model = parse(LOW)
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    # Between them nothing is rounded; what the convolutions give and take is.
    assert found.tensors == ("a", "ar", "c", "dr", "er", "f", "hr", "i", "u", "jr", "k", "nr", "o", "p", "q", "r")
    assert found.readers["er"] == {"low", "low_sum"}
    assert found.readers["hr"] == {"side"}
    assert found.readers["nr"] == {"back"}


def test_for_the_cpu_what_is_upsampled_is_summed_at_the_resolution_of_the_other():
    model = parse(LOW)
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    assert found.readers["u"] == {"fuse"}
    assert found.readers["dr"] == {"step", "fuse", "down"}
    assert found.readers["p"] == {"end"}


def test_residual_inputs_enter_sums_that_end_in_a_relu_and_nothing_else():
    # Not an identity, which a convolution reads as well; not k, read twice; nor p, whose sum has no ReLU.
    assert residual_inputs(parse(LOW)) == {"c", "f", "i", "u", "m"}


def test_a_value_that_is_also_an_output_is_no_residual_input():
    assert residual_inputs(parse(LOW, "float[N, C, A, B] y, float[N, 4, A, B] m")) == {"c", "f", "i", "u"}


def test_pooling_and_upsampling_share_their_input_s_scale(model):
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    assert found.scale_of == {"g": "fr", "u": "i"}
    assert not {"g", "u"} & set(found.measured)


def test_a_chain_of_them_shares_one_scale():
    twice = BODY.replace("(fr)\n", "(fr) [pool2] gg = MaxPool<kernel_shape = [1, 1]>(g)\n").replace("(g, w", "(gg, w")
    assert place_qdq(parse(twice), CPU, ()).scale_of["gg"] == "fr"


def test_for_the_cpu_a_float_value_is_quantized_for_its_integer_readers_only(model):
    found = place_qdq(model, CPU, {*float_by_default(model, CPU), "stem2", "stem2r", "one", "one_r"})
    assert found.readers["cr"] == {"sum"}
    assert found.readers["dr"] == {"two"}
    assert found.readers["fr"] == {"down", "fuse"}


def test_for_tensorrt_pairs_are_at_convolution_inputs_only(model):
    found = place_qdq(model, TENSORRT, float_by_default(model, TENSORRT))
    assert found.tensors == ("cr", "dr", "g", "jr", "m")
    assert found.scale_of == {}
    assert found.measured == found.tensors


def test_for_tensorrt_a_sum_reads_the_value_itself(model):
    found = place_qdq(model, TENSORRT, float_by_default(model, TENSORRT))
    assert found.readers["cr"] == {"one"}
    assert found.readers["jr"] == {"last"}
    assert not {"sum", "fuse"}.intersection(*found.readers.values())


def test_for_tensorrt_sums_may_read_copies_so_that_a_convolution_adds_them(model):
    found = place_qdq(model, TENSORRT, float_by_default(model, TENSORRT), Residual.INT8)
    # The convolution "two" adds cr; "fuse" has none, and reads the copy of fr that the pool reads.
    assert found.readers["cr"] == {"one", "sum"}
    assert found.readers["fr"] == {"down", "fuse"}
    assert found.readers["i"] == {"up"}
    assert found.tensors == ("cr", "dr", "fr", "g", "i", "jr", "m")
    assert found.scale_of == {"g": "fr"}
    # What a convolution adds to is never rounded in between.
    assert not {"e", "f", "u"} & set(found.tensors)


def test_for_tensorrt_no_value_with_a_copy_is_summed_itself():
    model = parse(LOW)
    found = place_qdq(model, TENSORRT, float_by_default(model, TENSORRT), Residual.INT8)
    assert found.readers["ar"] == {"high", "high_sum"}
    assert found.readers["er"] == {"low", "low_sum"}
    assert found.readers["dr"] == {"step", "down", "fuse"}
    assert found.readers["hr"] == {"side", "part"}
    # k is read twice, and jr by a sum without a convolution.
    assert not {"k", "jr", "m"} & set(found.tensors)


def test_of_two_convolutions_the_later_one_adds_the_other():
    shortcut = "[short] s = Conv(cr, w, b) [two] e = Conv(dr, w, b) [sum] f = Add(e, s)"
    model = parse(BODY.replace("[two] e = Conv(dr, w, b) [sum] f = Add(e, cr)", shortcut))
    keep = float_by_default(model, TENSORRT)
    found = place_qdq(model, TENSORRT, keep, Residual.INT8)
    assert found.readers["s"] == {"sum"}
    assert "e" not in found.tensors
    assert "s" not in place_qdq(model, TENSORRT, keep | {"two"}, Residual.INT8).tensors
    assert "s" not in place_qdq(model, TENSORRT, keep | {"sum"}, Residual.INT8).tensors


def test_a_global_pool_reads_a_copy_and_a_kept_resize_the_value():
    body = BODY.replace("[head] y = Conv(n, h)", "p = GlobalAveragePool(n) q = Flatten(p) [head] y = Gemm(q, square)")
    model = parse(body, "float[N, C] y", square=(4, 4))
    found = place_qdq(model, TENSORRT, float_by_default(model, TENSORRT) | {"up"}, Residual.INT8)
    assert found.readers["n"] == {"p"}
    assert "i" not in found.tensors


@pytest.mark.parametrize("target", [CPU, TENSORRT])
def test_where_all_is_kept_the_plan_is_empty(model, target):
    for residual in Residual:
        found = place_qdq(model, target, {n.name for n in model.graph.node}, residual)
        assert (found.tensors, found.weighted, dict(found.readers)) == ((), frozenset(), {})


@pytest.mark.slow
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_kept_one_table_holds_every_range(data):
    body = data.draw(st.sampled_from([BODY, BODY.replace("[fuse_r] jr = Relu(j)", "[fuse_r] jr = Relu(u)")]))
    model = parse(body, data.draw(st.sampled_from(["float[N, C, A, B] y", "float[N, C, A, B] y, float[N, 4, A, B] i"])))
    layouts = [(target, residual) for target in QdqTarget for residual in Residual]
    measured = {name for target, residual in layouts for name in place_qdq(model, target, (), residual).measured}
    keep = data.draw(st.sets(st.sampled_from([n.name for n in model.graph.node])))
    for target, residual in layouts:
        assert set(place_qdq(model, target, keep, residual).measured) <= measured


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_kept_nodes_have_no_integer_weights_and_weighted_ones_read_a_pair(data):
    model = parse(BODY)
    nodes = {n.name: n for n in model.graph.node}
    keep = data.draw(st.sets(st.sampled_from(sorted(nodes))))
    for target, residual in ((target, residual) for target in QdqTarget for residual in Residual):
        found = place_qdq(model, target, keep, residual)
        assert not found.weighted & keep
        assert all(name in found.readers[nodes[name].input[0]] for name in found.weighted)
        assert set(found.readers) == set(found.tensors)


def test_a_value_that_is_an_output_and_read_inside_is_written_in_float():
    found = place_qdq(parse(BODY, "float[N, C, A, B] y, float[N, 4, A, B] jr"), CPU, ())
    assert "j" not in found.tensors
    assert found.readers["jr"] == {"last"}
    assert "last" in found.weighted


def test_computed_weights_stay_in_floating_point():
    body = BODY.replace("[two] e = Conv(dr, w, b)", "v = Neg(w) [two] e = Conv(dr, v, b)")
    for target in QdqTarget:
        assert "two" not in place_qdq(parse(body), target, ()).weighted


def test_weights_in_a_constant_node_are_weights():
    body = BODY.replace("[squeeze]", "v = Constant<value = float[1, 8, 1, 1] {1, 2, 3, 4, 5, 6, 7, 8}>() [squeeze]")
    body = body.replace("(m, wide, b)", "(m, v)").replace("y = Conv(n, h)", "y = Relu(n)")
    for target in QdqTarget:
        assert "squeeze" in place_qdq(parse(body), target, ()).weighted


def test_sizes_computed_from_shapes_are_no_data_but_read_the_integer_copy():
    up = """[size] s = Shape(fr) [cut] t = Slice(s, two, four) [nc] q = Constant<value_ints = [1, 4]>()
    [join] r = Concat<axis = 0>(q, t) [up] u = Resize<mode = "linear">(i, , , r)"""
    start = BODY.index("[up]")
    body = BODY[:start] + up + BODY[BODY.index("[fuse]") - 5 :]
    text = (
        f"g (float[1, 3, H, W] x) => (float[N, C, A, B] y) <int64[1] two = {{2}}, int64[1] four = {{4}}> {{ {body} }}"
    )
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    model.graph.initializer.extend(parse(BODY).graph.initializer)
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    assert not {"s", "t", "q", "r"} & set(found.tensors)
    assert found.readers["fr"] == {"down", "fuse", "size"}
    assert found.scale_of["u"] == "i"


def test_nodes_without_a_name_are_called_by_what_they_make():
    model = parse(BODY)
    named = place_qdq(model, CPU, float_by_default(model, CPU))
    for node in model.graph.node:
        node.ClearField("name")
    assert name_of(model.graph.node[0]) == "a"
    nameless = place_qdq(model, CPU, float_by_default(model, CPU))
    assert nameless.tensors == named.tensors
    assert nameless.weighted == {"c", "d", "e", "i", "k", "n", "y"}


def test_outputs_that_are_left_out_connect_nothing():
    body = BODY.replace("[down] g = MaxPool", "[drop] fd, _m = Dropout(fr) [down] g = MaxPool")
    model = parse(body)
    model.graph.node[[n.name for n in model.graph.node].index("drop")].output[1] = ""
    found = place_qdq(model, CPU, float_by_default(model, CPU))
    assert "" not in found.tensors
    assert found.scale_of["u"] == "i"
