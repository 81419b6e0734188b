"""Scales for TensorRT's calibrator, on a graph small enough to check by hand."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.calibration.implicit_int8 import implicit_int8
from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget, Residual

BODY = """
    [stem1] a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, s1) [stem1r] ar = Relu(a)
    [stem2] c = Conv(ar, w) [stem2r] cr = Relu(c)
    [one] d = Conv(cr, w) [one_r] dr = Relu(d) [two] e = Conv(dr, w) [sum] f = Add(e, cr) [sum_r] fr = Relu(f)
    [down] g = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(fr) [low] i = Conv(g, w)
    [up] u = Resize<mode = "nearest">(i, , factors) [fuse] j = Add(fr, u) [fuse_r] jr = Relu(j)
    [last] k = Conv(jr, w) [last_r] kr = Relu(k) [pool] p = GlobalAveragePool(kr) [flat] q = Flatten(p)
    [head] y = Gemm<transB = 1>(q, h)
"""


@pytest.fixture(scope="module")
def model():
    text = f"g (float[N, 3, H, W] x) => (float[N, C] y) <float[4] factors = {{1, 1, 2, 2}}> {{ {BODY} }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {text}')
    for name, shape in {"s1": (4, 3, 3, 3), "w": (4, 4, 1, 1), "h": (2, 4)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture(scope="module")
def measured(model):
    """What a calibration table holds: every value that any layout quantizes, each with a range of its own."""
    layouts = [(QdqTarget.CPU, Residual.FLOAT), *((QdqTarget.TENSORRT, residual) for residual in Residual)]
    names = dict.fromkeys(name for target, kind in layouts for name in place_qdq(model, target, (), kind).measured)
    return {name: ActivationRange(-1.0, 1.0 + index) for index, name in enumerate(names)}


def values(model):
    return {"x", *(name for node in model.graph.node for name in node.output)}


def test_every_value_but_the_output_has_a_scale(model, measured):
    found = implicit_int8(model, measured, ()).amax
    # TensorRT runs a layer in INT8 only if all it reads and makes has one; what was measured is half of that.
    assert set(found) == values(model) - {"y"}
    assert len(measured) < 0.7 * len(found)
    assert {name: found[name] for name in measured} == {name: span.amax for name, span in measured.items()}


@pytest.mark.parametrize(
    ("value", "source"),
    [("d", "dr"), ("f", "fr"), ("j", "jr"), ("k", "kr"), ("u", "i"), ("p", "kr")],
)
def test_what_was_not_measured_follows_from_its_neighbor(model, measured, value, source):
    found = implicit_int8(model, measured, ()).amax
    assert found[value] == found[source]


def test_a_value_that_a_relu_shares_is_not_clipped_like_the_relu_s(model, measured):
    shared = onnx.ModelProto()
    shared.CopyFrom(model)
    next(node for node in shared.graph.node if node.name == "fuse").input[0] = "f"
    ranges = {name: span for name, span in measured.items() if name != "f"}
    assert "f" not in implicit_int8(shared, ranges, ()).amax


def test_what_only_kept_nodes_meet_has_no_scale(model, measured):
    keep = float_by_default(model, QdqTarget.TENSORRT)
    assert keep == {"stem1", "stem1r", "stem2", "stem2r", "head"}
    found = implicit_int8(model, measured, keep)
    assert {"x", "a", "ar", "c"}.isdisjoint(found.amax)
    # INT8 layers read the one and write the other.
    assert {"cr", "q"} <= set(found.amax)
    assert found.float_nodes == keep


def test_a_kept_block_is_constrained_and_its_ends_keep_their_scales(model, measured):
    found = implicit_int8(model, measured, {"one", "one_r", "two", "flat"})
    assert found.float_nodes == {"one", "one_r", "two"}
    assert {"d", "dr"}.isdisjoint(found.amax)
    assert {"cr", "e", "f"} <= set(found.amax)


def test_a_renamed_input_keeps_its_place_and_scale(model, measured):
    plain = implicit_int8(model, measured, ())
    found = plain.renamed("x", "pixels_in/normalised")
    assert next(iter(found.amax.items())) == ("pixels_in/normalised", plain.amax["x"])
    assert "x" not in found.amax
