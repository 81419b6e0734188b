"""The network as a module: shapes, seeds, devices, and what its exported graph looks like."""

import collections
import dataclasses
import warnings

import pytest
import torch

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant

CLS, SEG = find_variant("hrnet_w18_small_v1"), find_variant("hrnetv2_w18_small_v1")


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 47), (120, 200), (1, 1)])
def test_segmentation_takes_any_size(height, width):
    with torch.inference_mode():
        logits = build_network(SEG, 5)(torch.zeros(2, 3, height, width))
    assert logits.shape == (2, 5, -(-height // 4), -(-width // 4))


def test_classification_takes_multiples_of_32():
    network = build_network(CLS, 7)
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 32)).shape == (2, 7)
        with pytest.raises(UsageError, match="multiples of 32, got 65x64"):
            network(torch.zeros(1, 3, 65, 64))


def test_class_count_must_be_positive():
    with pytest.raises(UsageError, match="1 to 100000, got 0"):
        build_network(CLS, 0)


@pytest.mark.slow
def test_seeded_initialization_repeats():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_network(SEG, 2).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not build_network(SEG, 2).training


def test_input_is_left_alone_and_nothing_is_shared():
    network = build_network(SEG, 2)
    images = torch.randn(1, 3, 32, 32)
    before = images.clone()
    with torch.inference_mode():
        network(images)
    assert torch.equal(images, before)
    norms = [m for _, m in network.named_modules(remove_duplicate=False) if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == len({id(norm) for norm in norms})


def _distinct_weights(network):
    """The exporter merges equal constants into Identity nodes; trained weights have none."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_classification_graph_is_minimal(tmp_path, dynamic):
    onnx = pytest.importorskip("onnx")
    axes = {"input": {0: "batch", 2: "height", 3: "width"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _distinct_weights(build_network(CLS, 10)),
            (torch.zeros(1, 3, 64, 64),),
            tmp_path / "cls.onnx",
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes=axes,
        )
    graph = onnx.load(tmp_path / "cls.onnx").graph
    kinds = collections.Counter(node.op_type for node in graph.node)
    kinds.pop("Constant")
    assert set(kinds) == {"Conv", "Relu", "Add", "Resize", "GlobalAveragePool", "Flatten", "Gemm"}
    assert kinds["Conv"] == sum(isinstance(m, torch.nn.Conv2d) for m in build_network(CLS, 10).modules())


@pytest.mark.slow
def test_segmentation_graph_follows_the_input_size(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    network = build_network(SEG, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 64, 64),),
            tmp_path / "seg.onnx",
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch", 2: "height", 3: "width"}},
        )
    session = runtime.InferenceSession(tmp_path / "seg.onnx", providers=["CPUExecutionProvider"])
    images = torch.randn(2, 3, 60, 100)
    (got,) = session.run(None, {"input": images.numpy()})
    with torch.inference_mode():
        want = network(images).numpy()
    assert abs(got - want).max() <= 1e-4 * max(1.0, abs(want).max())


def count_parameters(variant, num_classes=None):
    network = build_network(variant, num_classes or variant.default_num_classes, device="meta")
    return sum(parameter.numel() for parameter in network.parameters())


# HRNET.md, e: name, parameters, parameters without head bias.
PARAMETERS = [
    ("hrnet_w18_small_v1", 13_187_464, None),
    ("hrnet_w18_small_v2", 15_597_464, None),
    ("hrnet_w18", 21_299_004, 21_295_164),
    ("hrnet_w30", 37_712_220, 37_708_380),
    ("hrnet_w32", 41_232_680, 41_228_840),
    ("hrnet_w40", 57_557_160, 57_553_320),
    ("hrnet_w44", 67_064_984, 67_061_144),
    ("hrnet_w48", 77_469_864, 77_466_024),
    ("hrnet_w64", 128_059_944, 128_056_104),
    ("se_hrnet_w64", 128_991_264, None),
    ("hrnetv2_w18_small_v1", 1_540_819, None),
    ("hrnetv2_w18_small_v2", 3_939_579, None),
    ("hrnetv2_w48", 65_859_379, None),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params", "without_bias"), PARAMETERS)
def test_variants_have_the_published_parameters(name, params, without_bias):
    variant = find_variant(name)
    assert count_parameters(variant) == params
    if without_bias:
        assert count_parameters(dataclasses.replace(variant, head_bias=False)) == without_bias


def test_classes_change_the_head_only():
    assert count_parameters(CLS) - count_parameters(CLS, 10) == 990 * 2049
