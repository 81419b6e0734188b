import numpy as np
import onnx
import pytest

from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.exporters.import_onnx import Findings, declare_classes, examine, flatten_scores, keep_outputs, reshape
from hrnet_deploy.spec import ShapeRange


def dims(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def graph_of(parse, entry, tail="y = Identity(f)", result="float[A, B]"):
    """Mean of each channel, then whatever the tail says."""
    return parse(f"g (float[{entry}] x) => ({result} y) {{ p = GlobalAveragePool(x) f = Flatten(p) {tail} }}")


@pytest.mark.parametrize(
    ("entry", "size", "batch"),
    [
        ("N, 3, 224, 192", (224, 192), None),
        ("8, 3, 224, 224", (224, 224), 8),
        ("N, 3, H, W", None, None),
        ("N, 3, 224, W", None, None),
        ("1, 3, ?, 224", None, 1),
    ],
)
def test_a_graph_tells_its_classes_and_what_is_fixed(parse, entry, size, batch):
    assert examine(graph_of(parse, entry), "f.onnx") == Findings(3, size, batch, normalized=False)


@pytest.mark.parametrize(
    ("tail", "normalized"),
    [
        ("y = Softmax<axis = 1>(f)", True),
        ("y = Sigmoid(f)", True),
        ("s = Softmax(f) y = Identity(s)", True),
        ("s = Softmax(f) i = Identity(s) y = Flatten(i)", True),
        ("y = LogSoftmax(f)", False),
        ("s = Softmax(f) y = Neg(s)", False),
        ("s = Sigmoid(f) y = Mul(f, s)", False),
    ],
)
def test_a_softmax_or_sigmoid_counts_only_at_the_end(parse, tail, normalized):
    assert examine(graph_of(parse, "N, 3, 8, 8", tail), "f.onnx").normalized is normalized


def test_probabilities_upsampled_to_the_image_are_probabilities(parse):
    model = parse(
        "g (float[N, 3, 8, 8] x) => (float[A, B, C, D] y) {"
        "s = Softmax<axis = 1>(x) f = Constant<value_floats = [1.0, 1.0, 2.0, 2.0]>() y = Resize(s, , f) }"
    )
    assert examine(model, "f.onnx").normalized


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("float[N, 224, 224, 3]", r"FLOAT \[0, 224, 224, 3\]"),
        ("float[N, 1, 8, 8]", r"FLOAT \[0, 1, 8, 8\]"),
        ("float[3, 8, 8]", r"FLOAT \[3, 8, 8\]"),
        ("uint8[N, 3, 8, 8]", "UINT8"),
        ("float16[N, 3, 8, 8]", "FLOAT16"),
    ],
)
def test_an_input_that_is_no_float_image_is_refused(parse, entry, found):
    model = parse(f"g ({entry} x) => ({entry} y) {{ y = Identity(x) }}")
    with pytest.raises(ArtifactError, match=rf"f\.onnx must take float32 \(N, 3, H, W\), got {found}"):
        examine(model, "f.onnx")


def test_an_open_number_of_classes_is_refused(parse):
    model = parse("g (float[N, 3, H, W] x) => (float[N, C, H, W] y) { i = NonZero(x) s = Shape(i) y = Tile(x, s) }")
    with pytest.raises(ArtifactError, match="must have a fixed number of classes in dimension 1"):
        examine(model, "f.onnx")


def test_an_output_without_classes_is_refused(parse):
    model = parse("g (float[N, 3, 8, 8] x) => (float y) { y = ReduceSum<keepdims = 0>(x) }")
    with pytest.raises(ArtifactError, match="must have a fixed number of classes in dimension 1"):
        examine(model, "f.onnx")


def test_labels_instead_of_scores_are_refused_rather_than_taken_for_classes(parse):
    model = parse("g (float[N, 3, 8, 16] x) => (int64[N, 8, 16] y) { y = ArgMax<axis = 1, keepdims = 0>(x) }")
    with pytest.raises(ArtifactError, match=r"f\.onnx must compute a score for each class, got INT64"):
        examine(model, "f.onnx")


@pytest.mark.parametrize(
    ("low", "opt", "high", "entry", "result"),
    [
        ((2, 8, 8), (2, 8, 8), (2, 8, 8), [2, 3, 8, 8], [2, 3, 4, 4]),
        ((1, 8, 8), (1, 8, 8), (4, 8, 8), ["batch", 3, 8, 8], ["batch", 3, 4, 4]),
        ((1, 8, 8), (1, 8, 12), (1, 16, 16), [1, 3, "height", "width"], [1, 3]),
        ((1, 8, 8), (1, 8, 8), (4, 16, 8), ["batch", 3, "height", "width"], ["batch", 3]),
    ],
)
def test_the_sizes_requested_are_written_into_what_was_open(parse, run, noise, low, opt, high, entry, result):
    model = parse(
        "g (float[N, 3, H, W] x) => (float[N, 3, A, B] y) { y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) }"
    )
    shaped = reshape(model, ShapeRange(low, opt, high))
    onnx.checker.check_model(shaped, full_check=True)
    assert dims(shaped.graph.input[0]) == entry
    found = dims(shaped.graph.output[0])
    assert [found[0] or result[0], *found[1 : len(result)]] == result
    assert run(shaped, noise(low[0], 3, 8, 8)).shape == (low[0], 3, 4, 4)


def test_a_second_output_without_dimensions_does_not_stop_it(parse, run, noise):
    model = parse(
        "g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y, float z) { y = Relu(x) z = ReduceSum<keepdims = 0>(x) }"
    )
    shaped = reshape(model, ShapeRange((1, 8, 8), (1, 8, 8), (4, 8, 8)))
    assert dims(shaped.graph.output[0])[0] == "batch"
    assert run(shaped, noise(2, 3, 8, 8)).shape == (2, 3, 8, 8)


TWO = (
    "g (float[N, 3, 8, 8] x) => (float[N, 3, 4, 4] aux, float[N, 3, 8, 8] out) "
    "{ aux = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) out = Relu(x) }"
)


@pytest.mark.parametrize(("wanted", "kind"), [("aux", "MaxPool"), ("out", "Relu")])
def test_the_output_that_is_named_is_the_only_one_left(parse, run, noise, wanted, kind):
    model = parse(TWO)
    both = dict(zip(("aux", "out"), run(model, noise(1, 3, 8, 8), every=True), strict=True))
    keep_outputs(model, wanted, (), "f.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == [kind]
    (result,) = run(model, noise(1, 3, 8, 8), every=True)
    np.testing.assert_array_equal(result, both[wanted])


@pytest.mark.parametrize("wanted", [None, "logits"])
def test_several_outputs_are_named_with_their_shapes(parse, wanted):
    with pytest.raises(UsageError, match=r"aux \(N, 3, 4, 4\), out \(N, 3, 8, 8\)"):
        keep_outputs(parse(TWO), wanted, (), "f.onnx")


def test_one_output_needs_no_name_and_may_have_its_own(parse):
    text = "g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) { y = Relu(x) }"
    for wanted in (None, "y"):
        kept = parse(text)
        keep_outputs(kept, wanted, (), "f.onnx")
        assert kept == parse(text)
    with pytest.raises(UsageError, match="--graph-output must be one of y"):
        keep_outputs(parse(text), "z", (), "f.onnx")


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
