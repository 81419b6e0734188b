"""The confusion matrix and the figures read off it, against torchmetrics and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics, confusion_matrix


def random_masks(seed, classes, used, shape=(64, 80)):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, used, shape).astype(np.uint8)
    answers = np.where(generator.random(shape) < 0.6, labels, generator.integers(0, used, shape)).astype(np.uint8)
    labels[generator.random(shape) < 0.1] = 255
    return labels, answers


@pytest.mark.parametrize(("classes", "used"), [(19, 19), (19, 11), (2, 2), (150, 120)])
def test_equals_torchmetrics(torchmetrics, classes, used):
    import torch

    labels, answers = random_masks(classes, classes, used)
    found = SegmentationMetrics(confusion_matrix(labels, answers, classes))
    pair = torch.from_numpy(answers).long(), torch.from_numpy(labels).long()
    options = {"num_classes": classes, "ignore_index": 255}
    assert (found.confusion == torchmetrics.MulticlassConfusionMatrix(**options)(*pair).numpy()).all()
    miou = torchmetrics.MulticlassJaccardIndex(**options)(*pair)
    by_class = torchmetrics.MulticlassJaccardIndex(**options, average="none")(*pair)
    pixels = torchmetrics.MulticlassAccuracy(**options, average="micro")(*pair)
    mean_accuracy = torchmetrics.MulticlassAccuracy(**options, average="macro")(*pair)
    assert found.miou_present == pytest.approx(float(miou), abs=1e-9)
    assert np.nan_to_num(found.class_iou) == pytest.approx(by_class.numpy(), abs=1e-9)
    assert found.pixel_accuracy == pytest.approx(float(pixels), abs=1e-9)
    assert found.mean_accuracy == pytest.approx(float(mean_accuracy), abs=1e-9)


def official(confusion):
    """The lines of HRNet-Semantic-Segmentation's testval, in numpy's words."""
    rows, columns, hits = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    iou = hits / np.maximum(1.0, rows + columns - hits)
    return hits.sum() / rows.sum(), (hits / np.maximum(1.0, rows)).mean(), iou.mean()


@pytest.mark.parametrize(("classes", "used"), [(19, 19), (19, 11)])
def test_equals_the_official_evaluation(classes, used):
    found = SegmentationMetrics(confusion_matrix(*random_masks(3, classes, used), classes))
    ours = (found.pixel_accuracy, found.mean_accuracy_official, found.miou_official)
    assert ours == pytest.approx(official(found.confusion), abs=1e-12)


def test_conventions_differ_only_where_a_class_is_absent():
    # class 0: IoU 2/3; class 1: 1/2; class 2: not labelled, one stray pixel; class 3: nowhere
    found = SegmentationMetrics(np.array([[2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert found.class_iou[:3].tolist() == [2 / 3, 1.0, 0.0]
    assert np.isnan(found.class_iou[3])
    assert found.miou == pytest.approx((2 / 3 + 1) / 2)
    assert found.miou_present == pytest.approx((2 / 3 + 1) / 3)
    assert found.miou_official == pytest.approx((2 / 3 + 1) / 4)
    full = SegmentationMetrics(confusion_matrix(*random_masks(1, 5, 5), 5))
    assert full.miou == full.miou_present == pytest.approx(full.miou_official, abs=1e-15)


def test_nothing_judged():
    found = SegmentationMetrics(np.zeros((3, 3), np.int64))
    assert set(found.to_dict().values()) == {0}


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_matrix_of_a_set_is_the_sum_over_images_however_it_is_cut(classes, seed):
    labels, answers = random_masks(seed, classes, classes, (6, 7))
    whole = confusion_matrix(labels, answers, classes)
    parts = sum(confusion_matrix(*pair, classes) for pair in zip(labels, answers, strict=True))
    assert (whole == parts).all()
    assert whole.sum() == np.count_nonzero(labels != 255)
    for right, answer in np.ndindex(classes, classes):
        assert whole[right, answer] == np.count_nonzero((labels == right) & (answers == answer))


@pytest.mark.parametrize(
    ("labels", "answers", "message"),
    [
        ([0, 1], [0], "must have the label's size"),
        ([0, 3], [0, 1], "labels must be 0..2 or 255, got 3"),
        ([0, 255], [0, 3], "mask must hold classes 0..2, got 3"),
    ],
)
def test_bad_values(labels, answers, message):
    with pytest.raises(UsageError, match=message):
        confusion_matrix(np.array(labels, np.uint8), np.array(answers, np.uint8), 3)


def test_255_classes_leave_the_ignored_out():
    assert confusion_matrix(np.array([254, 255], np.uint8), np.array([254, 0], np.uint8), 255).sum() == 1
