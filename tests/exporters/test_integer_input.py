"""The first convolution on gray levels: the same outputs, and nothing lost where its input becomes INT8."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.exporters.integer_input import add_integer_input
from hrnet_deploy.exporters.uint8_input import add_uint8_input
from hrnet_deploy.qdq_plan import INTEGER_INPUT, ActivationRange
from hrnet_deploy.spec import IMAGENET_MEAN, IMAGENET_STD

HALVES = (0.5, 0.5, 0.5)
PLAIN = "g (float[N, 3, H, W] x) => (float[N, 4, A, B] y) {{ y = Conv<pads = [{pads}], strides = [2, 2]>(x, w{bias}) }}"


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


def normalized(pixels, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    return ((pixels / 255.0 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classification", "open segmentation"])
def test_the_outputs_stay(simplified, run, pixels, kind):
    original = simplified(kind)
    before = original.SerializeToString(deterministic=True)
    created, _ = add_integer_input(original, IMAGENET_MEAN, IMAGENET_STD)
    onnx.checker.check_model(created, full_check=True)
    wanted = run(original, normalized(pixels[:1]))
    assert np.abs(run(created, normalized(pixels[:1])) - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert original.SerializeToString(deterministic=True) == before
    assert len(created.graph.node) == len(original.graph.node) + 3


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), (HALVES, HALVES), ((0, 0, 0), (1, 1, 1))])
@pytest.mark.parametrize(("pads", "bias"), [("1, 1, 1, 1", ", b"), ("0, 1, 2, 0", ""), ("0, 0, 0, 0", ", b")])
def test_an_image_is_whole_levels_and_its_border_the_mean(parse, run, noise, pixels, mean, std, pads, bias):
    model = parse(PLAIN.format(pads=pads, bias=bias), {"w": noise(4, 3, 3, 3)} | ({"b": noise(4)} if bias else {}))
    created, ranges = add_integer_input(model, mean, std)
    image = normalized(pixels, mean, std)
    wanted = run(model, image)
    np.testing.assert_allclose(run(created, image), wanted, atol=1e-5 * np.abs(wanted).max())
    created.graph.output.append(onnx.helper.make_tensor_value_info(INTEGER_INPUT, onnx.TensorProto.FLOAT, None))
    _, levels = run(created, image, every=True)
    top, left, bottom, right = (int(one) for one in pads.split(","))
    inside = levels[:, :, top : levels.shape[2] - bottom, left : levels.shape[3] - right]
    low, high = ranges[INTEGER_INPUT].low, ranges[INTEGER_INPUT].high
    assert (high - low, low) == (255, np.rint(low))
    np.testing.assert_allclose(inside - low, pixels.transpose(0, 3, 1, 2), atol=1e-3)
    for channel, center in enumerate(255 * np.array(mean)):
        border = levels[:, channel].copy()
        border[:, top : levels.shape[2] - bottom, left : levels.shape[3] - right] = center + low
        np.testing.assert_allclose(border, center + low, atol=1e-3)


def test_the_levels_of_imagenet_start_at_minus_114(simplified):
    assert add_integer_input(simplified("classification"), IMAGENET_MEAN, IMAGENET_STD)[1] == {
        INTEGER_INPUT: ActivationRange(-114.0, 141.0)
    }


def test_a_bias_that_others_share_is_left_to_them(parse, run, noise, pixels):
    body = "a = Conv(x, w, b) y = Conv(a, v, b)"
    text = f"g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) {{ {body} }}"
    model = parse(text, {"w": noise(3, 3, 1, 1), "v": noise(3, 3, 1, 1), "b": noise(3)})
    for node in model.graph.node:
        node.attribute.append(onnx.helper.make_attribute("pads", [0, 0, 0, 0]))
    created, ranges = add_integer_input(model, IMAGENET_MEAN, IMAGENET_STD)
    assert ranges
    np.testing.assert_allclose(run(created, normalized(pixels)), run(model, normalized(pixels)), atol=1e-4)


@pytest.mark.parametrize(
    "body",
    [
        "a = Relu(x) y = Conv<pads = [0, 0, 0, 0]>(a, w)",
        'y = Conv<auto_pad = "SAME_UPPER">(x, w)',
        "a = Conv<pads = [0, 0, 0, 0]>(x, w) b = Relu(x) y = Add(a, b)",
        "v = Relu(w) y = Conv<pads = [0, 0, 0, 0]>(x, v)",
    ],
)
def test_other_beginnings_are_left_alone(parse, noise, body):
    model = parse(f"g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) {{ {body} }}", {"w": noise(3, 3, 1, 1)})
    created, ranges = add_integer_input(model, IMAGENET_MEAN, IMAGENET_STD)
    assert created is model
    assert not ranges


@pytest.mark.parametrize("swap", [False, True], ids=["rgb", "bgr"])
def test_such_a_graph_takes_bytes_in_either_order(simplified, run, pixels, swap):
    created, _ = add_integer_input(simplified("classification"), IMAGENET_MEAN, IMAGENET_STD)
    wanted = run(created, normalized(pixels[..., ::-1] if swap else pixels))
    found = run(add_uint8_input(created, IMAGENET_MEAN, IMAGENET_STD, swap=swap), pixels)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
