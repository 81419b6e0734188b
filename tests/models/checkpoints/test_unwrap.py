"""Weights are found in whatever training scripts wrap around them, and nothing of it is created or called."""

import argparse
import collections
import copy
import pathlib
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.unwrap import find_model

NAMES = (
    "conv1.weight",
    "bn1.running_var",
    "stage2.0.branches.0.0.conv1.weight",
    "stage3.0.fuse_layers.0.1.0.weight",
    "stage4.0.branches.3.0.bn1.bias",
    "classifier.weight",
)
PLAIN = {name: torch.full((2,), float(index)) for index, name in enumerate(NAMES)}
AVERAGED = {name: tensor + 100 for name, tensor in PLAIN.items()}
FORMATS = {
    "zip": {},
    "zip, protocol 4": {"pickle_protocol": 4},
    "zip, protocol 5": {"pickle_protocol": 5},
    "legacy": {"_use_new_zipfile_serialization": False},
    "legacy, protocol 4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
    "legacy, protocol 5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
}


def prefixed(prefix, state=PLAIN):
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def same(found, wanted=PLAIN):
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        {"state_dict": PLAIN},
        {"model": PLAIN},
        {"model": "cls_hrnet", "state_dict": PLAIN, "epoch": 3, "perf": 1.0, "optimizer": {"state": {}}},
        {"model": AVERAGED, "state_dict": PLAIN},
        {"state_dict": PLAIN, "state_dict_ema": AVERAGED},
        {"meta": {"epoch": 1}, "state_dict": OrderedDict(PLAIN)},
        {"state_dict": {}, "model": PLAIN},
        {"epoch": 3, "model_state_dict": PLAIN, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        {"models": [PLAIN], "best": 0.5},
        {"net": {"encoder": prefixed("timm_model.")}},
        {"net": PLAIN, "optim_by_name": {"state": prefixed("module.", AVERAGED)}},
        {"student": prefixed("net."), "teacher": prefixed("net.", AVERAGED)},
        {"teacher": PLAIN},
        {"model": PLAIN, "state_dict": PLAIN},
        {"model": PLAIN, "best": copy.deepcopy(PLAIN)},
        {"backbone_only": {n: t for n, t in AVERAGED.items() if n != "classifier.weight"}, "full": PLAIN},
        OrderedDict([("n_averaged", torch.tensor(5)), *prefixed("module.").items()]),
    ],
    ids=range(18),
)
def test_plain_weights_are_the_default(content):
    assert same(find_model(content, "file").tensors)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": PLAIN, "state_dict_ema": AVERAGED},
        {"model": PLAIN, "model_ema": {**AVERAGED, "n_averaged": torch.ones(())}},
        {"net": PLAIN, "swa_model": prefixed("module.", AVERAGED)},
        {"ema": {"shadow": AVERAGED}, "model": PLAIN},
        OrderedDict([("n_averaged", torch.tensor(5)), *prefixed("module.", AVERAGED).items()]),
        # mmengine swaps the two when it saves.
        {"state_dict": AVERAGED, "ema_state_dict": {**PLAIN, "steps": torch.ones(())}},
    ],
    ids=range(6),
)
def test_averaged_weights_on_request(content):
    assert same(find_model(content, "file", ema=True).tensors, AVERAGED)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"epoch": 1, "optimizer": {}}, {}, r"got entries 'epoch', 'optimizer'\. Save"),
        ({}, {}, "got entries nothing"),
        (3, {}, "must hold a state dict, got int"),
        ({"fc.weight": torch.ones(1)}, {}, "must hold an HRNet, got tensors such as 'fc.weight'"),
        ({"state_dict": PLAIN}, {"ema": True}, r"averaged \(EMA\) weights, got plain ones under 'state_dict'"),
        ({"model_ema": PLAIN}, {}, r"got averaged \(EMA\) ones only, under 'model_ema'\. Add --ema"),
        ({"a": PLAIN, "b": AVERAGED}, {}, r"got 2 under 'a' and 'b'\. Choose with --weights-key"),
        ({"state_dict": PLAIN, "best": AVERAGED}, {}, r"got 2 under 'state_dict' and 'best'"),
        ([PLAIN, AVERAGED], {}, "got 2 under '0' and '1'"),
        ({"a": PLAIN}, {"key": "b"}, "must hold an HRNet under 'b', got them under 'a'"),
        ({"_fsdp._flat_param": torch.ones(9)}, {}, "one shard of FSDP"),
        ({str(i): PLAIN for i in range(99)}, {}, None),
        ({f"{i}": prefixed(f"{i}.") for i in range(99)}, {}, "at most 8 models, got 99"),
    ],
)
def test_what_cannot_be_chosen_is_refused(content, options, message):
    if message is None:  # the same dict under many names is one model
        assert same(find_model(content, "file", **options).tensors)
        return
    with pytest.raises(CheckpointError, match=message):
        find_model(content, "file", **options)


def test_a_key_chooses():
    content = {"a": PLAIN, "b": {"net": prefixed("module.", AVERAGED)}}
    assert same(find_model(content, "file", key="a").tensors)
    for key in ("b", "b.net", "b.net.module"):
        found = find_model(content, "file", key=key)
        assert same(found.tensors, AVERAGED)
        assert found.place == "b.net.module"


def test_the_other_model_is_reported():
    assert find_model({"model": AVERAGED, "state_dict": PLAIN}, "file").others == ("model",)


@pytest.mark.parametrize(
    ("beside", "prefix", "reported"),
    [
        ({"criterion.pos_weight": torch.ones(1)}, "model.", {"criterion.pos_weight"}),
        ({"val_acc.tp": torch.zeros(10)}, "model.", {"val_acc.tp"}),
        ({"0.mean": torch.zeros(3), "0.std": torch.ones(3)}, "1.", {"0.mean", "0.std"}),
        ({"ema_backbone_conv1_weight": torch.zeros(3)}, "backbone.", {"ema_backbone_conv1_weight"}),
        ({"model.bn1.num_batches_tracked": torch.ones(())}, "model.", set()),
        ({"loss.criterion.weight": torch.ones(19)}, "model.", set()),
    ],
)
def test_what_lies_beside_is_reported(beside, prefix, reported):
    found = find_model({**beside, **prefixed(prefix)}, "file")
    assert same(found.tensors)
    assert set(found.ignored) == reported


WRAPPERS = st.sampled_from(
    ["module", "_orig_mod", "model", "student", "net", "encoder", "0", "_fsdp_wrapped_module", "x y", "stage2", "net_1"]
)


@given(st.lists(WRAPPERS, max_size=6))
def test_any_prefix_is_stripped(prefixes):
    assert same(find_model(prefixed("".join(f"{word}." for word in prefixes)), "file").tensors)


class ForeignDict(dict):
    pass


class AttributeDict(dict):
    """Keeps its items twice, as easydict does."""

    def __init__(self, **items):
        super().__init__(**items)
        self.__dict__.update(items)


class ForeignList(list):
    pass


class ForeignHub:
    def __init__(self, content):
        self.content = content


LAYERS = st.sampled_from(
    [
        lambda inner: {"state_dict": inner, "epoch": 3},
        lambda inner: ForeignDict(model=inner, lr=0.1),
        lambda inner: collections.defaultdict(int, {"weights": inner}),
        lambda inner: OrderedDict(weights=inner),
        lambda inner: [None, inner],
        lambda inner: (inner, "text"),
        lambda inner: ForeignList([inner]),
        lambda inner: AttributeDict(model=inner),
        lambda inner: collections.deque([range(3), inner]),
        lambda inner: argparse.Namespace(model=inner, path=pathlib.PurePosixPath("a/b"), lr=1e-3),
        lambda inner: ForeignHub({"x": inner, "score": np.float64(1.5), "curve": np.arange(3)}),
    ]
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layers=st.lists(LAYERS, max_size=5), kind=st.sampled_from(sorted(FORMATS)))
def test_weights_are_found_in_containers_of_any_class(tmp_path, layers, kind):
    content = AttributeDict(**prefixed("module."))
    for layer in layers:
        content = layer(content)
    torch.save(content, tmp_path / "a.pth", **FORMATS[kind])
    assert same(read_container(tmp_path / "a.pth").weights.tensors)


@pytest.mark.parametrize("kind", FORMATS)
def test_training_files_with_foreign_objects_are_read(tmp_path, kind):
    content = {
        "message_hub": ForeignHub(None),
        "perf": np.float64(76.8),
        "log": {"loss": np.arange(3)},
        "args": argparse.Namespace(lr=0.1),
        "config": ForeignDict(width=18),
        "meters": collections.defaultdict(list, a=[1]),
        "arch": "hrnet_w18",
        "state_dict": PLAIN,
    }
    torch.save(content, tmp_path / "checkpoint.pth.tar", **FORMATS[kind])
    found = read_container(tmp_path / "checkpoint.pth.tar")
    assert same(found.weights.tensors)
    assert found.content["arch"] == "hrnet_w18"


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)


class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        branches = [torch.nn.Module() for _ in range(3)]
        for module in branches:
            module.branches = torch.nn.ModuleList([torch.nn.Sequential(Block())])
        self.stage2, self.stage3, self.stage4 = (torch.nn.Sequential(module) for module in branches)
        self.classifier = torch.nn.Linear(2, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("wrap", [lambda model: model, torch.nn.DataParallel, lambda model: {"model": model}])
def test_a_whole_pickled_module_gives_its_state(tmp_path, kind, wrap):
    model = Whole()
    torch.save(wrap(model), tmp_path / "net.pth", **FORMATS[kind])
    wanted = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    assert same(read_container(tmp_path / "net.pth").weights.tensors, wanted)


def described(shape, stride=None):
    return torch.arange(24, dtype=torch.float32).as_strided(shape, stride or torch.empty(shape).stride(), 3)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "tensor",
    [
        torch.nn.Parameter(torch.arange(4.0)),
        torch.arange(4).bfloat16(),
        torch.arange(4).half(),
        torch.arange(4).double(),
        described((2, 3), (1, 4)),
        described((3, 3), (0, 1)),
        torch.empty(0, 3),
        torch.tensor(2.0),
        torch.arange(24.0)[5:17:3],
        torch.arange(6.0).reshape(2, 3).t(),
    ],
    ids=range(10),
)
def test_tensors_of_every_layout_come_back(tmp_path, tensor, kind):
    tied = torch.arange(9, dtype=torch.int8)  # leaves what follows at an odd address in the old format
    torch.save({"tied": tied, "again": tied, **PLAIN, "conv1.weight": tensor}, tmp_path / "a.pth", **FORMATS[kind])
    found = read_container(tmp_path / "a.pth").weights.tensors["conv1.weight"]
    assert found.dtype is tensor.dtype
    assert torch.equal(found, tensor.detach())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(2, 2).to_sparse(), "'conv1.weight' sparse"),
        (torch.ones(2, device="meta"), "'conv1.weight' on the meta device, without numbers"),
        ("quantized", "'conv1.weight' quantized"),
    ],
)
def test_tensors_without_plain_numbers_are_one_line(tmp_path, tensor, message):
    if isinstance(tensor, str):  # making one warns that PyTorch will drop the kind
        tensor = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    torch.save({**PLAIN, "conv1.weight": tensor}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_container(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)
