"""What a convolution's window reads: the same pixels as ONNX Runtime's convolution."""

import numpy as np
import onnx
import onnxruntime
import pytest

from hrnet_deploy.calibration.second_moments import SecondMoment, Window


def convolution(attributes, inputs=3, outputs=2, kernel=(3, 3)):
    text = f"g (float[1, {inputs}, H, W] x) => (float[1, O, A, B] y) {{ y = Conv{attributes}(x, w) }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    weights = np.random.default_rng(0).normal(size=(outputs, inputs, *kernel)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model, weights


@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ("", (3, 3)),
        ("<pads = [1, 1, 1, 1]>", (3, 3)),
        ("<pads = [1, 0, 2, 1], strides = [2, 1]>", (3, 2)),
        ("<strides = [2, 2]>", (1, 1)),
        ('<auto_pad = "SAME_UPPER", strides = [2, 2]>', (3, 3)),
        ('<auto_pad = "SAME_LOWER", strides = [2, 2]>', (3, 3)),
        ('<auto_pad = "SAME_LOWER", strides = [2, 3]>', (2, 4)),
        ('<auto_pad = "VALID">', (3, 3)),
    ],
)
@pytest.mark.parametrize("size", [(8, 9), (7, 6)])
def test_patches_times_weights_are_the_convolution(attributes, kernel, size):
    model, weights = convolution(attributes, kernel=kernel)
    image = np.random.default_rng(1).normal(size=(1, 3, *size)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": image})[0][0].reshape(2, -1)
    patches = Window.of(model.graph.node[0], weights).patches(image, np.random.default_rng(0))
    np.testing.assert_allclose(weights.reshape(2, -1) @ patches.T, wanted, atol=1e-5)


def test_of_large_maps_some_pixels_are_taken_each_once():
    model, weights = convolution("<pads = [1, 1, 1, 1]>", inputs=1)
    image = np.arange(40 * 50, dtype=np.float32).reshape(1, 1, 40, 50)
    patches = Window.of(model.graph.node[0], weights).patches(image, np.random.default_rng(0))
    assert patches.shape == (256, 9)
    assert len(np.unique(patches[:, 4])) == 256


@pytest.mark.parametrize(
    ("attributes", "inputs", "kernel"), [("<group = 3>", 1, (3, 3)), ("<dilations = [2, 2]>", 3, (3, 3)), ("", 3, (3,))]
)
def test_convolutions_that_hrnet_has_none_of_have_no_window(attributes, inputs, kernel):
    model, weights = convolution(attributes, inputs=inputs, kernel=kernel)
    assert Window.of(model.graph.node[0], weights) is None


def test_the_mean_is_over_all_images():
    window = Window("x", (1, 1), (1, 1), (0, 0, 0, 0))
    moment = SecondMoment(window, 2)
    assert not moment.mean().any()
    images = np.random.default_rng(0).normal(size=(5, 1, 2, 3, 4)).astype(np.float32)
    for image in images:
        moment.add(image)
    pixels = images.transpose(0, 1, 3, 4, 2).reshape(-1, 2)
    np.testing.assert_allclose(moment.mean(), pixels.T @ pixels / len(pixels), rtol=1e-5)
