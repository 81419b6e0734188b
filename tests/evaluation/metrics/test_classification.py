"""Top-1 and top-5 against torchmetrics."""

import numpy as np
import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.metrics.classification import Ranking, classification_metrics


def rankings(scores):
    order = np.argsort(-scores, axis=1)[:, :5]
    return [Ranking(tuple(row.tolist()), tuple(np.take(s, row).tolist())) for row, s in zip(order, scores, strict=True)]


@pytest.mark.parametrize(("images", "classes"), [(1, 6), (400, 10), (300, 1000)])
def test_equals_torchmetrics(torchmetrics, images, classes):
    import torch

    generator = np.random.default_rng(images)
    scores = generator.random((images, classes)).astype(np.float32)
    labels = generator.integers(0, classes, images)
    found = classification_metrics(rankings(scores), labels.tolist(), classes)
    for value, top, average in [
        (found.top1, 1, "micro"),
        (found.top5, 5, "micro"),
        (found.mean_class_top1, 1, "macro"),
    ]:
        oracle = torchmetrics.MulticlassAccuracy(num_classes=classes, top_k=top, average=average)
        wanted = oracle(torch.from_numpy(scores), torch.from_numpy(labels))
        if average == "macro":  # it counts classes that are only answered, as 0
            by_class = torchmetrics.MulticlassAccuracy(num_classes=classes, average="none")
            wanted = by_class(torch.from_numpy(scores), torch.from_numpy(labels))[np.unique(labels)].mean()
        assert value == pytest.approx(float(wanted), abs=1e-9)


def test_figures_by_hand():
    answers = [
        Ranking((0, 1, 2), (0.5, 0.3, 0.2)),
        Ranking((1, 0, 2), (0.5, 0.3, 0.2)),
        Ranking((2, 3, 1), (0.5, 0.3, 0.2)),
    ]
    found = classification_metrics(answers, [0, 0, 0], 4)
    assert (found.top1, found.top5, found.mean_class_top1) == (1 / 3, 2 / 3, 1 / 3)
    assert found.images.tolist() == [3, 0, 0, 0]
    assert np.isnan(found.class_top1[1:]).all()
    assert (found.name, found.value) == ("top-1", found.top1)
    assert found.to_dict() == {"images": 3, "top1": 1 / 3, "top5": 2 / 3, "mean_class_top1": 1 / 3}


def test_no_images_is_no_division_by_zero():
    found = classification_metrics([], [], 3)
    assert (found.top1, found.top5, found.mean_class_top1) == (0, 0, 0)


@pytest.mark.parametrize(
    ("labels", "message"), [([0], "needs a label"), ([0, 4], "must be 0..3"), ([-1, 0], "must be 0..3")]
)
def test_bad_labels(labels, message):
    with pytest.raises(UsageError, match=message):
        classification_metrics([Ranking((0,), (1.0,))] * 2, labels, 4)
