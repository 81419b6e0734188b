"""Weights rounded by what images bring to them, on a real net."""

import numpy as np
import onnx
import pytest
import torch

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.quantize import weight_rounding
from hrnet_deploy.export.quantize.weight_rounding import round_weights
from hrnet_deploy.exporters.qdq import weight_scales
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.exporters.trace import trace
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import ShapeRange


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    network = build_network(find_variant("hrnet_w18_small_v1"), 10)
    return simplify(trace(network, ShapeRange((1, 64, 64), (1, 64, 64), (4, 64, 64)), 20))


@pytest.fixture(scope="module")
def images():
    return [(picture.transpose(2, 0, 1)[None] / 64 - 2).astype(np.float32) for picture in synthetic_images(6, (64, 64))]


def answers(model, images):
    engine = open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime")
    found = [engine.run({"input": image})[engine.outputs[0].name] for image in images]
    engine.close()
    return np.concatenate(found)


def rewritten(model, levels, *, per_channel):
    """The float graph with weights that are those levels, or the nearest ones."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in levels:
            weights = onnx.numpy_helper.to_array(tensor)
            scales = weight_scales(weights, per_channel=per_channel).reshape(-1, 1, 1, 1)
            found = np.rint(weights / scales) if levels[tensor.name] is None else levels[tensor.name]
            tensor.CopyFrom(onnx.numpy_helper.from_array((found * scales).astype(np.float32), tensor.name))
    return made


def convolutions(model):
    return frozenset(node.name for node in model.graph.node if node.op_type == "Conv")


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [True, False])
def test_answers_to_other_images_are_nearer_than_with_the_nearest_levels(net, images, per_channel):
    levels = round_weights(net, convolutions(net), images[:4], per_channel=per_channel)
    assert len(levels) == len(convolutions(net))
    wanted = answers(net, images[4:])
    ours, plain = (
        np.mean((answers(rewritten(net, given, per_channel=per_channel), images[4:]) - wanted) ** 2)
        for given in (levels, dict.fromkeys(levels))
    )
    assert ours < plain / 2


@pytest.mark.slow
def test_a_net_that_takes_several_passes_gets_the_same_levels(net, images, monkeypatch):
    nodes = frozenset(sorted(convolutions(net))[:12])
    once = round_weights(net, nodes, images[:2], per_channel=True)
    monkeypatch.setattr(weight_rounding, "_ROOM", 100_000)
    several = round_weights(net, nodes, images[:2], per_channel=True)
    assert several.keys() == once.keys()
    for name, levels in once.items():
        np.testing.assert_array_equal(several[name], levels)


def test_weights_of_several_convolutions_are_left_to_the_nearest_levels():
    body = "[one] a = Conv(x, w) [two] b = Conv(a, w) [three] y = Conv(b, v)"
    text = f"g (float[1, 3, H, W] x) => (float[1, 3, H, W] y) {{ {body} }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    for name in "vw":
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32)[..., None, None], name))
    found = round_weights(
        model, frozenset({"one", "two", "three"}), [np.ones((1, 3, 4, 4), np.float32)], per_channel=True
    )
    assert found.keys() == {"v"}
