"""Models of images with one or four channels, as timm's `in_chans` makes them."""

import cv2
import numpy as np
import pytest
import torch

from hrnet_deploy import ImageError, Predictor, UsageError, export
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import ChannelOrder


@pytest.fixture(scope="module")
def network():
    """channels -> a classifier of three classes with random weights."""
    from dataclasses import replace

    def make(channels):
        torch.manual_seed(0)
        return build_network(replace(find_variant("hrnet_w18_small_v1"), in_channels=channels), 3)

    return make


@pytest.fixture(scope="module")
def artifact(network, tmp_path_factory):
    """channels -> its artifact at 32x32."""

    def make(channels):
        folder = tmp_path_factory.mktemp(f"channels{channels}")
        torch.save(network(channels).state_dict(), folder / "weights.pth")
        return export(weights=folder / "weights.pth", imgsz=32, resize="squash", output=folder / "a.onnx").path

    return make


@pytest.mark.slow
def test_one_channel_is_gray_of_any_image(artifact, network):
    image = synthetic_images(1, (32, 32))[0]
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    with Predictor(artifact(1), device="cpu") as predictor:
        spec = predictor.card.preprocessing
        assert (spec.channel_order, spec.mean, spec.std) == (ChannelOrder.GRAY, (0.449,), (0.226,))
        row = predictor.pipeline.preprocessor(image)
        np.testing.assert_allclose(row[0], (gray / 255.0 - 0.449) / 0.226, atol=1e-5)
        with torch.inference_mode():
            wanted = network(1)(torch.from_numpy(row[None])).softmax(1).numpy()[0]
        np.testing.assert_allclose(predictor.predict(image).probs, wanted, atol=1e-5)
        np.testing.assert_allclose(predictor.predict(gray).probs, wanted, atol=1e-5)
        larger = cv2.resize(image, (80, 60))
        assert predictor.pipeline.preprocessor(larger).shape == (1, 32, 32)


@pytest.mark.slow
def test_four_channels_need_arrays_that_have_them(artifact, network):
    (image,) = synthetic_images(1, (32, 32), channels=4)
    with Predictor(artifact(4), device="cpu") as predictor:
        assert predictor.card.preprocessing.channel_order is ChannelOrder.RGBA
        row = predictor.pipeline.preprocessor(image)
        mean, std = (
            np.array(v)[:, None, None] for v in (predictor.card.preprocessing.mean, predictor.card.preprocessing.std)
        )
        np.testing.assert_allclose(row, (image[..., [2, 1, 0, 3]].transpose(2, 0, 1) / 255 - mean) / std, atol=1e-5)
        with torch.inference_mode():
            wanted = network(4)(torch.from_numpy(row[None])).numpy()
        np.testing.assert_allclose(predictor.infer(row[None])["logits"], wanted, atol=1e-4)
        for source in (image, image[..., :3]):  # an alpha channel is not used in silence
            with pytest.raises(ImageError, match="must be a BGRA uint8 array"):
                predictor.predict(source)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (1, {"pixels_in": True}, "--pixels-in needs a model of three channels, got one of 1"),
        (1, {"mean": (0.4, 0.5, 0.6)}, r"mean must be 1 finite number\(s\)"),
        (4, {"mean": (0.4, 0.5, 0.6)}, r"mean must be 4 finite number\(s\)"),
    ],
)
def test_options_for_three_channels_are_refused(network, tmp_path, channels, options, message):
    torch.save(network(channels).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=message):
        export(weights=tmp_path / "weights.pth", imgsz=32, output=tmp_path / "a.onnx", **options)


@pytest.mark.slow
def test_mean_and_std_may_have_one_number_or_three_equal_ones(network, tmp_path):
    torch.save(network(1).state_dict(), tmp_path / "weights.pth")
    for mean in ((0.5,), (0.5, 0.5, 0.5)):
        done = export(weights=tmp_path / "weights.pth", imgsz=32, output=tmp_path / "a.onnx", mean=mean)
        assert done.card.preprocessing.mean == (0.5,)
