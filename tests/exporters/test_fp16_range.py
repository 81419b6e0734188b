import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.fp16_range import expose_absmax, fp16_overflows


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
