"""What training files say of their classes."""

from collections import OrderedDict

import pytest
import torch

from hrnet_deploy.models.checkpoints.class_info import ClassInfo, class_info
from hrnet_deploy.models.checkpoints.container import read_container

LAND = ("background", "building", "road")
COLOURS = [[0, 0, 0], [200, 10, 10], (90, 90, 90)]


@pytest.mark.parametrize(
    "content",
    [
        {"meta": {"CLASSES": LAND, "PALETTE": COLOURS}},
        {"meta": {"dataset_meta": {"classes": list(LAND), "palette": COLOURS}, "CLASSES": ("stale",)}},
        {"meta": {"dataset_meta": {"CLASSES": LAND, "PALETTE": COLOURS}}},
        {"meta": OrderedDict(classes=LAND), "palette": COLOURS},
        {"classes": list(LAND), "palette": COLOURS},
        {"class_to_idx": {"building": 1, "background": 0, "road": 2}, "palette": COLOURS},
        {"id2label": {2: "road", 0: "background", 1: "building"}, "palette": COLOURS},
    ],
)
def test_names_and_colors(content):
    found = class_info(content | {"state_dict": {}}, "checkpoint 'x'")
    assert found.names == LAND
    assert found.palette == ((0, 0, 0), (200, 10, 10), (90, 90, 90))


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"meta": None},
        {"meta": {"CLASSES": None, "PALETTE": None}},
        {"meta": {"CLASSES": ()}},
        {"classes": torch.zeros(3)},
        {"names": ["conv1.weight"]},
        {"classes": [torch.zeros(3)]},
        {"meta": "text"},
    ],
)
def test_where_nothing_is_said(content, caplog):
    assert class_info(content, "checkpoint 'x'") == ClassInfo()
    assert not caplog.text


@pytest.mark.parametrize(
    ("meta", "line"),
    [
        ({"CLASSES": ("cat", "cat")}, "those in the file are not used: the class list in checkpoint 'x', entry 1"),
        ({"CLASSES": ("cat", "\x1b[2Jdog")}, "must be printable text"),
        ({"PALETTE": [[0, 0, 256]]}, "palette: the one in checkpoint 'x' is not used"),
        ({"PALETTE": [[0, 0]]}, "must hold red, green and blue from 0 to 255"),
        ({"PALETTE": "cityscapes"}, None),
    ],
)
def test_what_cannot_be_used_is_left_out_and_a_line_says_so(meta, line, caplog):
    assert class_info({"meta": meta}, "checkpoint 'x'") == ClassInfo()
    assert (line in caplog.text) if line else not caplog.text


@pytest.mark.parametrize(
    ("config", "threshold"),
    [
        ("model = dict(decode_head=dict(type='FCNHead', threshold=0.4, num_classes=2))", 0.4),
        ("decode_head = dict(\n    sampler=dict(type='X', threshold=0.7),\n    threshold=0.25)\nthreshold=0.9", 0.25),
        ("decode_head=dict(loss_decode=[dict(threshold=0.7)])", None),
        ("decode_head={'type': 'FCNHead', 'threshold': 0.35}", 0.35),
        ("auxiliary_head=dict(threshold=0.4)", None),
        ("decode_head=dict(threshold=7)", None),
        ("decode_head=dict(threshold=1e)", None),
        ("decode_head=dict((((", None),
        (None, None),
        (3, None),
    ],
)
def test_the_threshold_of_mmsegmentations_configuration(config, threshold):
    assert class_info({"meta": {"cfg": config}}, "x").threshold == threshold
    assert class_info({"meta": {"config": config}}, "x").threshold == threshold


def test_a_container_tells_it(tmp_path):
    weights = {f"stage{n}.0.fuse_layers.0.1.0.weight": torch.zeros(2, 2, 1, 1) for n in (2, 3, 4)}
    torch.save({"meta": {"CLASSES": LAND}, "state_dict": weights}, tmp_path / "x.pth")
    assert class_info(read_container(tmp_path / "x.pth").content, "x").names == LAND
