"""Top-1 and top-5 against torchmetrics, counted by the accumulator that evaluations use."""

from pathlib import Path

import numpy as np
import pytest

from hrnet_deploy.evaluation.accumulators import ClassificationAccumulator
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample
from hrnet_deploy.evaluation.image_record import ImageRecord
from hrnet_deploy.evaluation.metrics.classification import Ranking
from hrnet_deploy.spec import Task


def metrics(rankings, labels, classes):
    samples = tuple(Sample(str(index), Path(str(index)), label) for index, label in enumerate(labels))
    dataset = Dataset(
        root=Path(), layout="", task=Task.CLASSIFICATION, classes=classes, samples=samples, total=len(samples)
    )
    counts = ClassificationAccumulator(dataset, 1)
    for index, ranking in enumerate(rankings):
        counts.add(ImageRecord(index, "", (ranking,)))
    return counts.metrics(0)


def rankings(scores):
    order = np.argsort(-scores, axis=1)[:, :5]
    return [Ranking(tuple(row.tolist()), tuple(np.take(s, row).tolist())) for row, s in zip(order, scores, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(("images", "classes"), [(1, 6), (400, 10), (300, 1000)])
def test_equals_torchmetrics(torchmetrics, images, classes):
    import torch

    generator = np.random.default_rng(images)
    scores = generator.random((images, classes)).astype(np.float32)
    labels = generator.integers(0, classes, images)
    found = metrics(rankings(scores), labels.tolist(), classes)
    for value, top, average in [
        (found.top1, 1, "micro"),
        (found.top5, 5, "micro"),
        (found.mean_class_top1, 1, "macro"),
    ]:
        oracle = torchmetrics.MulticlassAccuracy(num_classes=classes, top_k=top, average=average)
        wanted = oracle(torch.from_numpy(scores), torch.from_numpy(labels))
        if average == "macro":  # it counts classes that are only predicted, as 0
            by_class = torchmetrics.MulticlassAccuracy(num_classes=classes, average="none")
            wanted = by_class(torch.from_numpy(scores), torch.from_numpy(labels))[np.unique(labels)].mean()
        assert value == pytest.approx(float(wanted), abs=1e-9)


def test_figures_by_hand():
    predictions = [
        Ranking((0, 1, 2), (0.5, 0.3, 0.2)),
        Ranking((1, 0, 2), (0.5, 0.3, 0.2)),
        Ranking((2, 3, 1), (0.5, 0.3, 0.2)),
    ]
    found = metrics(predictions, [0, 0, 0], 4)
    assert (found.top1, found.top5, found.mean_class_top1) == (1 / 3, 2 / 3, 1 / 3)
    assert found.images.tolist() == [3, 0, 0, 0]
    assert np.isnan(found.class_top1[1:]).all()
    assert (found.name, found.value) == ("top-1", found.top1)
    assert found.to_dict() == {"images": 3, "top1": 1 / 3, "top5": 2 / 3, "mean_class_top1": 1 / 3}


def test_no_images_is_no_division_by_zero():
    found = metrics([], [], 3)
    assert (found.top1, found.top5, found.mean_class_top1) == (0, 0, 0)
