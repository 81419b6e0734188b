"""Comparisons: what is lost and gained, where, and how sure that is."""

import json

import numpy as np
import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation import compare
from hrnet_deploy.spec import Task


class Worse:
    """A net that mistakes one class for another."""

    device, backend = "cpu", "numpy"

    def __init__(self, net, mistaken=1, answer=2):
        self.card, self._net, self._pair = net.card, net, (mistaken, answer)

    def infer(self, feed):
        (name,), (values,) = feed.keys(), feed.values()
        return self._net.infer({name: np.where(values == self._pair[0], np.uint8(self._pair[1]), values)})


def test_classification(colour_net, photos):
    net = colour_net(Task.CLASSIFICATION)
    found = compare(net, [Worse(net), net], photos(12), batch=5)
    worse, same = found.candidates
    answers = [(i % 4 + (i % 3 == 0)) % 4 for i in range(12)]
    lost = sum(answer == 1 == i % 4 for i, answer in enumerate(answers))
    gained = sum(answer == 1 and i % 4 == 2 for i, answer in enumerate(answers))
    changed = answers.count(1)
    assert (worse.lost, worse.gained, worse.agreement) == pytest.approx((lost / 12, gained / 12, 1 - changed / 12))
    assert worse.drop.name == "top-1"
    assert worse.drop.points == pytest.approx(100 * (lost - gained) / 12)
    assert worse.drop.low <= worse.drop.points <= worse.drop.high
    assert [image.kind for image in worse.images] == ["lost"] * lost + ["other"] * (changed - lost - gained) + [
        "gained"
    ] * gained
    assert worse.classes[1].points == pytest.approx(100 * lost / 3)
    assert worse.evaluation.metrics.top1 == pytest.approx((8 - lost + gained) / 12)
    assert (same.agreement, same.lost, same.gained, same.images) == (1, 0, 0, ())
    assert (same.drop.points, same.drop.low, same.drop.high, same.drop.certain) == (0, 0, 0, False)
    assert worse.transitions is None


def test_segmentation(colour_net, scenes):
    net = colour_net()
    found = compare(net, [Worse(net)], scenes(), batch=2)
    (worse,) = found.candidates
    confusion = found.reference.metrics.confusion
    ones, twos = int(confusion[1, 1]), int(confusion[2, 2])
    assert found.reference.metrics.miou == 1
    assert worse.lost == pytest.approx(ones / confusion.sum())
    assert worse.gained == 0
    assert [delta.candidate for delta in worse.classes] == pytest.approx([1, 0, twos / (ones + twos), 1])
    assert worse.drop.name == "mIoU"
    assert worse.drop.points == pytest.approx(np.mean([delta.points for delta in worse.classes]))
    assert worse.drop.certain
    assert worse.drops[1].points == pytest.approx(100 * worse.lost)
    # all pixels count for agreement, the first row of each label, which is not judged, too
    assert worse.transitions[1, 2] == worse.transitions.sum() - np.trace(worse.transitions) > ones
    assert worse.agreement == pytest.approx(1 - worse.transitions[1, 2] / worse.transitions.sum())
    shares = [image.lost for image in worse.images]
    assert shares == sorted(shares, reverse=True)
    assert len(worse.images) == 6
    assert worse.images[0].transitions[0][:2] == (1, 2)
    assert sum(image.transitions[0][2] for image in worse.images) == worse.transitions[1, 2]


@pytest.mark.parametrize("task", list(Task))
def test_batch_workers_and_order_of_candidates_change_nothing(colour_net, photos, scenes, task):
    net = colour_net(task)
    data = scenes() if task is Task.SEGMENTATION else photos(30)
    first = compare(net, [Worse(net), Worse(net, 0, 3)], data).to_dict()["candidates"]
    other = compare(net, [Worse(net, 0, 3), Worse(net)], data, batch=7, workers=4).to_dict()["candidates"]
    for content in (*first, *other):
        content["evaluation"].pop("run")
    assert first == other[::-1]


def test_plain_values_are_json(colour_net, photos, scenes):
    for task, data in ((Task.CLASSIFICATION, photos()), (Task.SEGMENTATION, scenes())):
        net = colour_net(task)
        found = compare(net, [Worse(net)], data, resamples=50, seed=3)
        content = json.loads(json.dumps(found.to_dict(images=2), allow_nan=False))
        assert content["interval"] == {"level": 0.95, "resamples": 50, "seed": 3}
        assert len(content["candidates"][0]["images"]) == 2
        assert content["candidates"][0]["changed_images"] == len(found.candidates[0].images) > 2


def test_one_image_has_no_interval(colour_net, photos):
    net = colour_net(Task.CLASSIFICATION)
    drop = compare(net, [net], photos(12), limit=1).candidates[0].drop
    assert (drop.low, drop.high, drop.certain) == (None, None, False)


def test_nets_that_cannot_be_compared(colour_net, photos):
    net = colour_net(Task.CLASSIFICATION)
    renamed = colour_net(Task.CLASSIFICATION)
    object.__setattr__(renamed.card, "classes", ("class_0", "cat", "class_2", "class_3"))
    cases = [
        ([], "a comparison needs a candidate, got none"),
        ([colour_net()], "must do classification as the reference colour_net, got segmentation"),
        ([colour_net(Task.CLASSIFICATION, classes=5)], "must have the 4 classes of the reference colour_net, got 5"),
        ([net, renamed], "got 'cat' for 'class_1' at index 1"),
    ]
    for candidates, message in cases:
        with pytest.raises(UsageError, match=message) as caught:
            compare(net, candidates, photos())
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_real_nets(photos_onnx, shared, tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(photos_onnx)
    bias = next(i for i in graph.graph.initializer if list(i.dims) == [10])
    values = onnx.numpy_helper.to_array(bias) + np.eye(10, dtype=np.float32)[3] * 0.5
    bias.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), bias.name))
    biased = tmp_path / "biased.onnx"
    onnx.save(graph, biased)
    found = compare(photos_onnx, [biased], shared / "data/photos", batch=8, journal=tmp_path / "journal")
    (worse,) = found.candidates
    assert 0.9 < worse.agreement < 1
    assert all(image.candidate.top[0] == 3 for image in worse.images)
    assert worse.drop.points == pytest.approx(100 * (worse.lost - worse.gained))
    assert worse.classes[3].points < 0
    again = compare(photos_onnx, [biased], shared / "data/photos", journal=tmp_path / "journal")
    assert again.reference.run.computed == 0
    assert again.candidates[0].drops == worse.drops
    assert again.candidates[0].images == worse.images
