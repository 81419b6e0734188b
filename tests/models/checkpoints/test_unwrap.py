"""Weights are found in what training scripts wrap around them."""

import argparse
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.unwrap import clean_names, pick_weights

PLAIN = {"conv1.weight": torch.zeros(1), "bn1.bias": torch.zeros(1)}
AVERAGED = {name: torch.ones(1) for name in PLAIN}


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
    ],
)
def test_plain_weights_are_the_default(content):
    assert pick_weights(content, "file", ema=False) == PLAIN


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": PLAIN, "state_dict_ema": AVERAGED},
        {"model": PLAIN, "model_ema": {**AVERAGED, "n_averaged": torch.ones(())}},
        # mmengine swaps the two when it saves.
        {"state_dict": AVERAGED, "ema_state_dict": {**PLAIN, "steps": torch.ones(())}},
    ],
)
def test_averaged_weights_on_request(content):
    assert pick_weights(content, "file", ema=True) == AVERAGED


@pytest.mark.parametrize(
    ("content", "ema", "message"),
    [
        ({"epoch": 1, "optimizer": {}}, False, r"got entries 'epoch', 'optimizer'\. Save"),
        ({}, False, "got entries nothing"),
        ([PLAIN], False, "must hold a state dict, got list"),
        ({"state_dict": PLAIN}, True, r"must hold averaged \(EMA\) weights, got 'state_dict'"),
    ],
)
def test_files_without_weights_are_refused(content, ema, message):
    with pytest.raises(CheckpointError, match=message):
        pick_weights(content, "file", ema=ema)


@given(st.lists(st.sampled_from(["module.", "_orig_mod.", "model.", "Student."]), max_size=5))
def test_prefixes_are_stripped_in_any_order(prefixes):
    wrapped = {"".join(prefixes) + name: tensor for name, tensor in PLAIN.items()}
    assert clean_names(wrapped) == PLAIN


def test_a_prefix_of_some_names_is_part_of_them():
    mixed = {"module.conv1.weight": torch.zeros(1), "conv2.weight": torch.zeros(1)}
    assert clean_names(mixed) == mixed


def test_losses_counters_and_teachers_are_dropped():
    extra = {"model.bn1.num_batches_tracked": torch.zeros(()), "loss.criterion.weight": torch.zeros(19)}
    assert clean_names({**{f"model.{n}": t for n, t in PLAIN.items()}, **extra}) == PLAIN
    pair = {**{f"Student.{n}": t for n, t in PLAIN.items()}, **{f"Teacher.{n}": t for n, t in AVERAGED.items()}}
    assert clean_names(pair) == PLAIN
    assert clean_names({}) == {}


class ForeignDict(dict):
    pass


class ForeignHub:
    def __init__(self):
        self.history = [np.float64(1.5)]


@pytest.mark.parametrize("legacy", [False, True])
def test_training_files_with_foreign_objects_are_read(tmp_path, legacy):
    content = {
        "message_hub": ForeignHub(),
        "perf": np.float64(76.8),
        "log": {"loss": np.arange(3)},
        "args": argparse.Namespace(lr=0.1),
        "config": ForeignDict(width=18),
        "meters": defaultdict(list, a=[1]),
        "arch": "hrnet_w18",
        "state_dict": PLAIN,
    }
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_container(path)
    assert found.tensors == PLAIN
    assert found.architecture == "hrnet_w18"
