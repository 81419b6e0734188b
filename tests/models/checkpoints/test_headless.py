"""Backbones and models with other heads: their trunk loads where features are wanted, and only there."""

import logging

import pytest
import torch

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import Task

HEAD = ("incre_modules", "downsamp_modules", "final_layer", "classifier", "last_layer")


@pytest.fixture(scope="module")
def states():
    """Official state dicts of a classifier and a segmentation model; do not modify."""
    torch.manual_seed(0)
    return {name: build_network(find_variant(f"{name}_w18_small_v1"), 3).state_dict() for name in ("hrnet", "hrnetv2")}


def trunk(state, prefix="", layers=(), single=False):
    """The trunk alone, and more layers; with `single`, the last module computes the finest branch only."""
    kept = {k: v for k, v in state.items() if k.split(".")[0] not in HEAD or k.split(".")[0] in layers}
    missing = tuple(f"stage4.0.fuse_layers.{i}." for i in (1, 2, 3)) if single else ()
    return {prefix + k: v for k, v in kept.items() if not (missing and k.startswith(missing))}


BESIDE = {
    "HRNet-Object-Detection": {"neck.fpn_convs.0.conv.weight": 4, "rpn_head.rpn_conv.weight": 4},
    "mmpose": {"keypoint_head.final_layer.weight": 4, "keypoint_head.final_layer.bias": 1},
    "HRNet-Human-Pose": {"final_layer.weight": 4, "final_layer.bias": 1},
    "landmarks": {"head.0.weight": 4, "head.0.bias": 1, "head.1.weight": 1, "head.1.bias": 1},
    "mmseg OCR": {"decode_head.0.conv_seg.weight": 4},
}
PREFIXED = {"HRNet-Object-Detection", "mmpose", "mmseg OCR"}
SINGLE = {"mmpose", "HRNet-Human-Pose"}
BILINEAR = {"landmarks", "mmseg OCR"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BESIDE)
def test_the_trunk_of_another_model_loads_with_a_line_that_names_what_is_left_out(load_state, states, caplog, kind):
    own = states["hrnetv2" if kind in BILINEAR else "hrnet"]
    state = trunk(own, "backbone." if kind in PREFIXED else "", single=kind in SINGLE)
    state |= {name: torch.zeros([1] * rank) for name, rank in BESIDE[kind].items()}
    with pytest.raises(CheckpointError, match="must hold an HRNet classifier"):
        load_state(state)
    with caplog.at_level(logging.WARNING):
        loaded = load_state(state, features=True)
    first = next(iter(BESIDE[kind])).partition(".")[0]
    assert f"left out '{first}' (" in caplog.text
    assert loaded.variant.task is (Task.SEGMENTATION if kind in BILINEAR else Task.CLASSIFICATION)
    assert loaded.variant.multi_scale is (kind not in SINGLE)
    assert loaded.num_classes == 0
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, own[name])


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "backbone.", "model.", "module.backbone."])
def test_a_trunk_alone_is_taken_as_nearest_with_a_line_or_as_the_variant_says(load_state, states, caplog, prefix):
    state = trunk(states["hrnet"], prefix)
    with pytest.raises(CheckpointError, match=r"must hold a model with a head.*--features maps"):
        load_state(state)
    with caplog.at_level(logging.WARNING):
        assert load_state(state, features=True).variant.name == "hrnet_w18_small_v1"
    assert "does not show how it resizes: taken as nearest" in caplog.text
    caplog.clear()
    named = load_state(state, features=True, variant="hrnetv2_w18_small_v1")
    assert (named.variant.task, named.network.stage4[0].bilinear) == (Task.SEGMENTATION, True)
    assert "does not show" not in caplog.text


@pytest.mark.parametrize(
    "layers", [("incre_modules",), ("incre_modules", "downsamp_modules", "final_layer")], ids=["features_only", "no fc"]
)
def test_parts_of_a_classifier_load_with_the_layers_they_have(load_state, states, caplog, layers):
    state = trunk(states["hrnet"], layers=layers)
    with caplog.at_level(logging.WARNING):
        loaded = load_state(state, features=True)
    assert loaded.network.state_dict().keys() == state.keys()
    assert not caplog.text


def test_a_classifier_keeps_its_head_where_features_are_wanted(load_state, states):
    assert load_state(states["hrnet"], features=True).num_classes == 3


def test_an_incomplete_trunk_is_refused_as_any_other(load_state, states):
    state = trunk(states["hrnet"])
    del state["stage3.0.branches.0.0.conv1.weight"]
    with pytest.raises(CheckpointError, match=r"missing: stage3.0.branches.0.0.conv1.weight"):
        load_state(state, features=True)
