import numpy as np
import onnx
import pytest

from hrnet_deploy.errors import ExportError
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.uint8_input import add_uint8_input
from hrnet_deploy.spec import IMAGENET_MEAN, IMAGENET_STD

CONV = "g (float[N, 3, H, W] x) => (float[N, 2, A, B] y) {{ {before} y = Conv<kernel_shape = [3, 3]>({entry}, w) }}"


def normalized(pixels, *, swap):
    """The network's input for uint8 (N, H, W, 3), computed in float64."""
    ordered = pixels[..., ::-1] if swap else pixels
    scaled = (ordered / 255.0 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    return scaled.transpose(0, 3, 1, 2).astype(np.float32)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("swap", [False, True], ids=["rgb", "bgr"])
def test_bytes_in_give_what_normalized_floats_gave(simplified, run, pixels, swap):
    wanted = run(simplified("classification"), normalized(pixels, swap=swap))
    model = add_uint8_input(simplified("classification"), IMAGENET_MEAN, IMAGENET_STD, swap=swap)
    onnx.checker.check_model(model, full_check=True)
    assert np.abs(run(model, pixels) - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.slow
def test_the_channels_order_matters(simplified, run, pixels):
    plain, swapped = (
        add_uint8_input(simplified("classification"), IMAGENET_MEAN, IMAGENET_STD, swap=swap) for swap in (False, True)
    )
    assert np.abs(run(plain, pixels) - run(swapped, pixels)).max() > 1e-3 * run(plain, pixels).std()


@pytest.mark.slow
@pytest.mark.parametrize("swap", [False, True])
def test_a_half_graph_takes_bytes_too(simplified, run, pixels, swap):
    wanted = run(simplified("classification"), normalized(pixels, swap=swap))
    half = to_fp16(simplified("classification")).model
    found = run(add_uint8_input(half, IMAGENET_MEAN, IMAGENET_STD, swap=swap), pixels)
    assert np.abs(found - wanted).max() <= 2e-2 * wanted.std()


def test_the_input_keeps_its_name_and_open_dimensions_and_swapping_adds_no_node(simplified):
    original = simplified("open segmentation")
    count = len(original.graph.node)
    model = add_uint8_input(original, IMAGENET_MEAN, IMAGENET_STD, swap=True)
    (entry,) = model.graph.input
    dims = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
    assert (entry.name, entry.type.tensor_type.elem_type, dims) == (
        "input",
        onnx.TensorProto.UINT8,
        [1, "height", "width", 3],
    )
    assert [n.op_type for n in model.graph.node[:4]] == ["Cast", "Transpose", "Mul", "Add"]
    assert len(model.graph.node) == count + 4


@pytest.mark.parametrize("readers", [1, 2])
def test_a_weight_read_by_several_first_convolutions_is_turned_once(parse, run, noise, pixels, readers):
    text = "g (float[N, 3, H, W] x) => (float[N, 2, A, B] y) { a = Conv(x, w) b = Conv(x, w) y = Add(a, b) }"
    weights = {"w": noise(2, 3, 3, 3)}
    model = parse(text if readers == 2 else CONV.format(before="", entry="x"), weights)
    wanted = run(model, normalized(pixels, swap=True))
    found = run(add_uint8_input(model, IMAGENET_MEAN, IMAGENET_STD, swap=True), pixels)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("before", ["a = Relu(x)", "a = Transpose<perm = [0, 1, 3, 2]>(x)"])
def test_swapping_is_refused_where_no_convolution_comes_first(parse, noise, before):
    model = parse(CONV.format(before=before, entry="a"), {"w": noise(2, 3, 3, 3)})
    with pytest.raises(
        ExportError, match=r"needs a convolution as first node, got (Relu|Transpose)\. Use --pixels-in rgb"
    ):
        add_uint8_input(model, IMAGENET_MEAN, IMAGENET_STD, swap=True)


def test_without_swapping_anything_may_come_first(parse, run, noise, pixels):
    model = parse(CONV.format(before="a = Relu(x)", entry="a"), {"w": noise(2, 3, 3, 3)})
    wanted = run(model, normalized(pixels, swap=False))
    np.testing.assert_allclose(
        run(add_uint8_input(model, IMAGENET_MEAN, IMAGENET_STD, swap=False), pixels), wanted, atol=1e-4
    )


@pytest.mark.parametrize(
    "entry", ["float[N, 1, 4, 4]", "float[N, 4, 4, 3]", "uint8[N, 3, 4, 4]", "float16[N, 3, 4, 4]"]
)
def test_an_input_that_is_no_float_image_is_refused(parse, entry):
    model = parse(f"g ({entry} x) => ({entry} y) {{ y = Identity(x) }}")
    with pytest.raises(ExportError, match="pixels-in needs a float32 input with 3 channels"):
        add_uint8_input(model, IMAGENET_MEAN, IMAGENET_STD, swap=False)
