"""Data sets that do not suit the model."""

import pytest

from hrnet_deploy.errors import MissingFileError, UsageError
from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset
from hrnet_deploy.spec import Task


def test_the_task_decides(colour_net, photos, scenes):
    assert find_dataset(photos(), colour_net(Task.CLASSIFICATION).card).task is Task.CLASSIFICATION
    assert find_dataset(scenes(), colour_net().card).task is Task.SEGMENTATION


def test_the_other_task_is_refused(colour_net, photos, scenes):
    with pytest.raises(UsageError, match=r"one class an image for colour_net, a classification model"):
        find_dataset(scenes(), colour_net(Task.CLASSIFICATION).card)
    with pytest.raises(UsageError, match=r"must be laid out as leftImg8bit/"):
        find_dataset(photos(), colour_net().card)


def test_wrong_kinds_of_paths(colour_net, tmp_path, scenes):
    card = colour_net().card
    with pytest.raises(MissingFileError, match=r"evaluation data must exist"):
        find_dataset(tmp_path / "no", card)
    file = tmp_path / "val.txt"
    file.touch()
    with pytest.raises(UsageError, match=r"segmentation data must be a folder"):
        find_dataset(file, card)
    with pytest.raises(UsageError, match=r"a label file is for classification"):
        find_dataset(scenes(), card, labels=file)
