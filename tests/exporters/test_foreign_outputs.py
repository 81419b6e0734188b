"""One output of scores, in the shape our own graphs have."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.exporters.foreign_outputs import declare_classes, flatten_scores, keep_output

TWO = (
    "g (float[N, 3, 8, 8] x) => (float[N, 3, 4, 4] aux, float[N, 3, 8, 8] out) "
    "{ aux = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) out = Relu(x) }"
)


def dims(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(("wanted", "kind"), [("aux", "MaxPool"), ("out", "Relu")])
def test_the_output_that_is_named_is_the_only_one_left(parse, run, noise, wanted, kind):
    model = parse(TWO)
    both = dict(zip(("aux", "out"), run(model, noise(1, 3, 8, 8), every=True), strict=True))
    assert keep_output(model, wanted, "f.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == [kind]
    (result,) = run(model, noise(1, 3, 8, 8), every=True)
    np.testing.assert_array_equal(result, both[wanted])


@pytest.mark.parametrize("wanted", [None, "logits"])
def test_several_outputs_are_named_with_their_shapes(parse, wanted):
    with pytest.raises(UsageError, match=r"aux \(N, 3, 4, 4\), out \(N, 3, 8, 8\)"):
        keep_output(parse(TWO), wanted, "f.onnx")


def test_one_output_needs_no_name_and_may_have_its_own(parse):
    text = "g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) { y = Relu(x) }"
    assert not keep_output(parse(text), None, "f.onnx")
    assert not keep_output(parse(text), "y", "f.onnx")
    with pytest.raises(UsageError, match="--graph-output must be one of y"):
        keep_output(parse(text), "z", "f.onnx")


@pytest.mark.parametrize("predicted", [None, (2, 3, 1, 1)])
def test_scores_of_a_1x1_map_are_flattened(parse, run, noise, predicted):
    model = parse("g (float[N, 3, 8, 8] x) => (float[N, A, B, C] y) { y = GlobalAveragePool(x) }")
    before = run(model, noise(2, 3, 8, 8))
    assert flatten_scores(model, predicted)
    onnx.checker.check_model(model, full_check=True)
    assert dims(model.graph.output[0])[1:] == [3]
    np.testing.assert_array_equal(run(model, noise(2, 3, 8, 8)), before[:, :, 0, 0])


@pytest.mark.parametrize(("shape", "predicted"), [("N, 3, 8, 8", None), ("N, 3, A, B", (1, 3, 8, 8)), ("N, 3", (1, 3))])
def test_other_scores_stay(parse, shape, predicted):
    tail = "y = Relu(x)" if shape.count(",") == 3 else "p = GlobalAveragePool(x) y = Flatten(p)"
    model = parse(f"g (float[N, 3, 8, 8] x) => (float[{shape}] y) {{ {tail} }}")
    assert not flatten_scores(model, predicted)


def test_classes_that_a_reshape_hides_are_written_down(parse):
    model = parse("g (float[N, 3, 8, 8] x) => (float[N, C] y) { p = GlobalAveragePool(x) y = Flatten(p) }")
    declare_classes(model, (1, 3))
    assert dims(model.graph.output[0]) == ["N", 3]
