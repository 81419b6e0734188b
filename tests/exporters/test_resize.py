import numpy as np
import onnx
import pytest

from hrnet_deploy.exporters.resize import resize_by_scales


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
