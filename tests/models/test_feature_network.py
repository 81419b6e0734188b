"""A network with its blocks as outputs."""

import pytest
import torch

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.feature_network import FeatureNetwork, blocks_of
from hrnet_deploy.models.network import HEADLESS, build_headless, build_network
from hrnet_deploy.models.variants import find_variant

CLS = find_variant("hrnet_w18_small_v1")
SEG = find_variant("hrnetv2_w18_small_v1")
TRUNK = {"conv1", "stem", "layer1", "stage2", "stage3", "maps"}


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(0)
    return torch.randn(2, 3, 64, 32)


@torch.inference_mode()
def test_a_classifier_gives_its_logits_and_every_block(images):
    network = build_network(CLS, 5)
    featured = FeatureNetwork(network, ("pooled", "maps", "incre", "final", "conv1"))
    found = dict(zip(featured.outputs, featured(images), strict=True))
    assert torch.equal(found["logits"], network(images))
    assert torch.equal(network.classifier(found["pooled"]), found["logits"])
    assert torch.allclose(found["final_32"].mean((2, 3)), found["pooled"], atol=1e-6)
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in found.items()}
    assert (shapes["map_4"], shapes["map_32"]) == ((16, 16, 8), (128, 2, 1))
    assert (shapes["incre_4"], shapes["conv1_2"]) == ((128, 16, 8), (64, 32, 16))


@torch.inference_mode()
def test_a_segmentation_model_gives_the_blocks_of_its_trunk(images):
    network = build_network(SEG, 5)
    found = FeatureNetwork(network, ("stage2", "maps"))(images)
    assert torch.equal(found[0], network(images))
    assert [tuple(one.shape[1:]) for one in found[1:3]] == [(16, 16, 8), (32, 8, 4)]
    assert blocks_of(network).keys() == TRUNK
    with pytest.raises(UsageError, match=r"pooled is the embedding .* got a network with conv1, stem, .*stage3, maps"):
        FeatureNetwork(network, ("pooled",))


@pytest.mark.parametrize(("layers", "more"), [("trunk", set()), ("wide", {"incre"}), ("pooled", None)])
def test_a_network_without_a_head_has_the_blocks_of_its_layers(images, layers, more):
    network = build_headless(CLS, layers)
    assert blocks_of(network).keys() == TRUNK | ({"incre", "final", "pooled"} if more is None else more)
    featured = FeatureNetwork(network, ("maps",))
    assert list(featured.outputs) == list(featured.features) == ["map_4", "map_8", "map_16", "map_32"]
    with torch.inference_mode():
        assert len(featured(images)) == 4


def test_every_network_without_a_head_has_more_layers_than_the_one_before():
    names = [set(build_headless(CLS, layers, device="meta").state_dict()) for layers in HEADLESS]
    assert names[0] < names[1] < names[2] < set(build_network(CLS, 2, device="meta").state_dict())
