"""Blocks: the PyTorch module behind each node, and what a user may call it."""

import onnx
import pytest
import torch

from hrnet_deploy.calibration.blocks import blocks, resolve
from hrnet_deploy.errors import UsageError
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.exporters.trace import trace
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.qdq_plan import name_of
from hrnet_deploy.spec import ShapeRange

STAGES = ["transition1", "transition2", "transition3"]
STAGES += [f"stage{s}.branch{b}" for s in (2, 3, 4) for b in range(s)] + [f"stage{s}.fuse" for s in (2, 3, 4)]


def traced(variant):
    torch.manual_seed(0)
    network = build_network(find_variant(variant), 4)
    return simplify(trace(network, ShapeRange((1, 64, 64), (1, 64, 64), (2, 64, 64)), 20))


@pytest.fixture(scope="module", params=["hrnet_w18_small_v1", "hrnetv2_w18_small_v1"])
def model(request):
    return traced(request.param)


def chain(length):
    body = " ".join(f"a{i + 1} = Conv(a{i}, w) r{i + 1} = Relu(a{i + 1})" for i in range(length))
    text = f"g (float[N, 3, H, W] a0) => (float[N, 3, H, W] r{length}) <float[3, 3, 1, 1] w = {{1,0,0,0,1,0,0,0,1}}>"
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text} {{ {body} }}')


@pytest.mark.slow
def test_every_block_has_its_module_s_name(model):
    assert set(blocks(model)) == {"stem", "layer1", "head", *STAGES}


@pytest.mark.slow
def test_every_convolution_is_in_exactly_one_block(model):
    found = [name for names in blocks(model).values() for name in names]
    assert len(found) == len(set(found))
    assert {name_of(n) for n in model.graph.node if n.op_type == "Conv"} <= set(found)


def test_blocks_come_in_the_order_of_the_graph(model):
    names = list(blocks(model))
    assert names[:2] == ["stem", "layer1"]
    assert names[-1] == "head"


def test_a_block_holds_the_module_s_convolutions_and_no_other(model):
    found = blocks(model)
    convolutions = {name_of(n) for n in model.graph.node if n.op_type == "Conv"}
    assert found["stem"] & convolutions == {"/conv1/Conv", "/conv2/Conv"}
    assert all(name.startswith("/stage3/") and "/branches.1/" in name for name in found["stage3.branch1"])
    assert all("/branches." not in name for name in found["stage4.fuse"])
    assert all(name.startswith("/layer1/") for name in found["layer1"])


def test_a_foreign_graph_is_cut_into_runs_of_convolutions():
    found = blocks(chain(14))
    assert list(found) == ["conv0-5", "conv6-11", "conv12-17"]
    assert found["conv0-5"] == {f"{kind}{i}" for kind in "ar" for i in range(1, 7)}


def test_a_relu_stays_with_its_convolution_at_a_cut():
    found = blocks(chain(7))
    assert {"a7", "r7"} <= found["conv6-11"]


def test_names_and_patterns_and_blocks_resolve_to_nodes(model):
    assert resolve(["stem"], model) == blocks(model)["stem"]
    assert resolve(["/conv1/Conv"], model) == {"/conv1/Conv"}
    assert resolve(["/layer1/*"], model) >= blocks(model)["layer1"]
    assert resolve(["stem", "layer1"], model) == blocks(model)["stem"] | blocks(model)["layer1"]
    assert resolve([], model) == frozenset()


@pytest.mark.parametrize("option", ["stage5.fuse", "/nowhere/*", ""])
def test_a_pattern_that_matches_nothing_is_refused_with_the_blocks_there_are(model, option):
    with pytest.raises(UsageError, match=r"must name a block or a node, got .*Blocks: stem, layer1"):
        resolve([option], model)
