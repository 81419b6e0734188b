import collections
import importlib
import sys

import numpy as np
import onnx
import pytest

from hrnet_deploy.errors import ExportError, MissingDependencyError
from hrnet_deploy.exporters.simplify import resize_by_scales, simplify

SHAPE_ARITHMETIC = {"Shape", "Slice", "Concat", "Gather", "Unsqueeze", "Cast", "Identity"}


def kinds(model):
    return collections.Counter(node.op_type for node in model.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "size"), [("classification", (64, 64)), ("segmentation", (64, 96)), ("open segmentation", (72, 56))]
)
def test_a_simplified_model_computes_what_it_did(traced, simplified, run, noise, kind, size):
    images = noise(1, 3, *size)
    original = run(traced(kind), images)
    found = run(simplified(kind), images)
    assert np.abs(found - original).max() <= 1e-4 * original.std()


def test_a_batch_of_several_still_runs_after_simplifying(traced, simplified, run, noise):
    images = noise(3, 3, 64, 96)
    original = run(traced("segmentation"), images)
    assert np.abs(run(simplified("segmentation"), images) - original).max() <= 1e-4 * original.std()


def test_with_a_fixed_size_only_arithmetic_is_left(simplified):
    classification, segmentation = kinds(simplified("classification")), kinds(simplified("segmentation"))
    assert not classification.keys() & SHAPE_ARITHMETIC
    # One Concat joins the four branches' channels; none is left that builds a shape.
    assert segmentation.keys() & SHAPE_ARITHMETIC == {"Concat"}
    assert segmentation["Concat"] == 1
    assert segmentation["Resize"] > 3


def test_with_a_fixed_size_every_resize_has_a_whole_factor(simplified):
    model = simplified("segmentation")
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert {len(node.input) for node in resizes} == {3}
    assert {tuple(weights[node.input[2]]) for node in resizes} == {(1, 1, f, f) for f in (2, 4, 8)}


def test_with_an_open_size_resizes_keep_computed_targets(simplified):
    resizes = [node for node in simplified("open segmentation").graph.node if node.op_type == "Resize"]
    assert resizes
    assert all(len(node.input) == 4 and node.input[3] for node in resizes)


def test_the_caller_keeps_its_graph(traced):
    model = traced("segmentation")
    before = model.SerializeToString()
    simplify(model)
    assert model.SerializeToString() == before


def test_names_and_open_dimensions_of_input_and_output_stay(simplified):
    model = simplified("segmentation")
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["input", "logits"]
    assert dims == [["batch", 5, 16, 24]]


def test_a_graph_the_simplifier_cannot_read_names_the_way_round(parse):
    model = parse("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ExportError, match=r"graph must simplify, got .* Use --no-simplify\."):
        simplify(model)


def test_without_onnxsim_the_error_names_the_pip_line_and_importing_works(traced, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    importlib.reload(sys.modules[simplify.__module__])
    with pytest.raises(
        MissingDependencyError, match=r"needs onnxsim, got: .* pip install onnxsim, or use --no-simplify\.$"
    ):
        simplify(traced("classification"))


def resize(parse, source, target, attributes='mode = "linear"', opset=20):
    """A graph with one Resize from source (h, w) to target, by sizes, and a batch left open."""
    n, out = ("N", f"{target[0]}, {target[1]}")
    return parse(
        f"g (float[{n}, 3, {source[0]}, {source[1]}] x) => (float[{n}, 3, {out}] y) {{"
        f"shape = Shape<end = 2>(x) hw = Constant<value_ints = [{out}]>()"
        f"sizes = Concat<axis = 0>(shape, hw) y = Resize<{attributes}>(x, , , sizes) }}",
        opset=opset,
    )


@pytest.mark.parametrize("mode", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
@pytest.mark.parametrize("interpolation", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize(
    ("source", "target"), [((4, 6), (8, 12)), ((3, 5), (12, 5)), ((1, 1), (8, 4)), ((4, 4), (4, 4))]
)
def test_whole_factors_replace_sizes_and_compute_the_same(parse, run, noise, source, target, interpolation, mode):
    attributes = f'mode = "{interpolation}", coordinate_transformation_mode = "{mode}"'
    model = resize(parse, source, target, attributes)
    images = noise(2, 3, *source)
    before = run(model, images)
    assert resize_by_scales(model)
    onnx.checker.check_model(model, full_check=True)
    (node,) = (n for n in model.graph.node if n.op_type == "Resize")
    assert list(node.input[:2]) == ["x", ""]
    scales = onnx.numpy_helper.to_array(model.graph.initializer[0])
    assert scales.tolist() == [1, 1, target[0] / source[0], target[1] / source[1]]
    np.testing.assert_array_equal(run(model, images), before)


@pytest.mark.parametrize(
    ("source", "target"),
    [((4, 6), (10, 12)), ((4, 6), (8, 13)), ((8, 8), (4, 4)), (("H", "W"), (8, 8)), ((4, "W"), (8, 8))],
)
def test_other_factors_and_open_sizes_are_left_alone(parse, source, target):
    model = resize(parse, source, target)
    before = model.SerializeToString()
    assert not resize_by_scales(model)
    assert model.SerializeToString() == before


def test_a_resize_of_chosen_axes_is_left_alone(parse):
    model = parse(
        "g (float[N, 3, 4, 4] x) => (float[N, 3, 8, 8] y) {"
        "hw = Constant<value_ints = [8, 8]>() y = Resize<axes = [2, 3]>(x, , , hw) }"
    )
    assert not resize_by_scales(model)


def test_a_resize_by_factors_already_is_left_alone(parse):
    model = parse(
        "g (float[N, 3, 4, 4] x) => (float[N, 3, 8, 8] y) {"
        "f = Constant<value_floats = [1.0, 1.0, 2.0, 2.0]>() y = Resize(x, , f) }"
    )
    assert not resize_by_scales(model)


def test_a_graph_without_resize_is_left_alone(parse):
    assert not resize_by_scales(parse("g (float[2] x) => (float[2] y) { y = Relu(x) }"))
