"""Mean and standard deviation: on a 0..1 scale, or refused with the values that are."""

import json
import math

import numpy as np
import pytest

from hrnet_deploy.color_scale import channel_numbers, check_scale
from hrnet_deploy.errors import ArtifactError, CheckpointError, UsageError
from hrnet_deploy.models.checkpoints.timm_config import read_timm_config
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, ShapeRange, TensorSpec

LEVELS = (123.675, 116.28, 103.53)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"mean": LEVELS, "std": (58.395, 57.12, 57.375)}, "--mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"),
        ({"mean": (127.5, 127.5, 127.5)}, "divided by 255: --mean 0.5 0.5 0.5"),
        ({"std": (58.395, 57.12, 57.375)}, "divided by 255: --std 0.229 0.224 0.225"),
        ({"mean": (103.53, 116.28, 123.675), "std": (1, 1, 1)}, "--std 0.00392157 0.00392157 0.00392157"),
        ({"mean": (123.675, 0.456, 0.406)}, "of two scales"),
        ({"std": (0.2, 57.12, 0.2)}, "of two scales"),
        ({"mean": (30000, 31000, 32000)}, "by the largest value of a channel"),
    ],
)  # fmt: skip
def test_levels_are_refused_with_what_to_give_instead(values, advice):
    with pytest.raises(UsageError, match=r"must be on a 0\.\.1 scale") as caught:
        Preprocessing(**values)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": (-0.1, 0.5, 0.5)}, "mean must not be negative"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be positive"),
        ({"std": (0.2, -0.2, 0.2)}, "std must be positive"),
        ({"mean": (math.nan, 0.5, 0.5)}, "mean must be three finite numbers"),
        ({"std": (math.inf, 0.5, 0.5)}, "std must be three finite numbers"),
        ({"mean": 0.5}, "mean must be three finite numbers"),
        ({"mean": "0.5"}, "mean must be three finite numbers"),
        ({"mean": ("a", "b", "c")}, "mean must be three finite numbers"),
        ({"mean": None}, "mean must be three finite numbers"),
        ({"mean": (0.5,) * 4}, "mean must be three finite numbers"),
    ],
)
def test_what_is_no_mean_or_deviation_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Preprocessing(**values)


@pytest.mark.parametrize(
    "values", [IMAGENET, {"mean": (0, 0, 0), "std": (1, 1, 1)}, {"mean": (0.5,) * 3, "std": (1 / 255,) * 3}]
)
def test_what_nets_are_trained_with_is_taken(values):
    check_scale(channel_numbers("mean", values["mean"]), channel_numbers("std", np.array(values["std"])))


def test_a_card_made_with_levels_is_refused():
    card = ModelCard(
        task="classification",
        variant="toy",
        classes=("a", "b"),
        preprocessing=Preprocessing(),
        precision=Precision.FP32,
        inputs=(TensorSpec("x", "float32", ("n", 3, 32, 32)),),
        outputs=(TensorSpec("y", "float32", ("n", 2)),),
        shapes=ShapeRange((1, 32, 32), (1, 32, 32), (4, 32, 32)),
    )
    content = json.loads(card.to_json())
    content["preprocessing"]["mean"] = [123.675, 116.28, 103.53]
    with pytest.raises(ArtifactError, match=r"0\.485 0\.456 0\.406"):
        ModelCard.from_json(json.dumps(content))


def test_a_config_with_levels_is_refused(tmp_path):
    config = {"pretrained_cfg": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"0\.485 0\.456 0\.406"):
        read_timm_config(tmp_path / "model.safetensors", find_variant("hrnet_w18"), 1000)
