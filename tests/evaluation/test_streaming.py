"""Reading ahead: order, bounds, errors and the end of the threads."""

import threading

import pytest

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.evaluation import streaming
from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.evaluation.streaming import InferenceTimer, stream
from hrnet_deploy.spec import Task


@pytest.fixture
def run(colour_net):
    def start(root, task=Task.CLASSIFICATION, net=None, **options):
        net = net or colour_net(task)
        dataset = find_dataset(root, net.card)
        settings = {"batch": 1, "workers": 2} | options
        return stream([ModelRunner(net)], dataset, range(len(dataset)), InferenceTimer([0.0]), **settings), net

    return start


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("evaluation")]


@pytest.mark.parametrize("batch", [1, 5, 64])
@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("streams", [1, 3])
def test_records_come_in_order_and_threads_end(run, photos, colour_net, batch, workers, streams):
    net = colour_net(Task.CLASSIFICATION)
    net.streams = streams
    records, _ = run(photos(23), net=net, batch=batch, workers=workers)
    assert [record.index for record in records] == list(range(23))
    assert not alive()
    assert 1 <= len(net.threads) <= streams
    assert {thread.name.rpartition("_")[0] for thread in net.threads} == {"evaluation-model"}
    assert sum(net.batches) == 23
    assert max(net.batches) <= batch


def test_reading_ahead_is_bounded(run, photos, monkeypatch):
    reads = []
    read = streaming.read_frame
    monkeypatch.setattr(streaming, "read_frame", lambda *given: reads.append(1) or read(*given))
    records, _ = run(photos(60), batch=2, workers=3)
    for count, _ in enumerate(records, start=1):
        held = len(reads) - count
        assert held <= 2 * (2 * 2 + 3) + 2 + 1, "images read and not yet yielded"
    assert len(reads) == 60


@pytest.mark.parametrize("batch", [1, 5])
def test_an_error_ends_the_run_after_what_came_before(run, photos, batch):
    root = photos(20)
    broken = sorted(root.rglob("*.png"))[12]
    broken.write_bytes(b"no image")
    records, _ = run(root, batch=batch)
    seen = []
    with pytest.raises(ImageError, match=broken.name):
        seen.extend(record.index for record in records)
    assert seen == list(range(12))
    assert not alive()


def test_a_file_that_goes_away(run, photos):
    root = photos(4)
    records, _ = run(root)
    sorted(root.rglob("*.png"))[3].unlink()
    with pytest.raises(MissingFileError, match=r"must exist, got no file"):
        list(records)


def test_an_error_of_the_net_ends_the_threads(run, photos, colour_net):
    net = colour_net(Task.CLASSIFICATION)
    net.infer = lambda feed: 1 / 0
    records, _ = run(photos(20), net=net)
    with pytest.raises(ZeroDivisionError):
        list(records)
    assert not alive()


def test_stopping_early_ends_the_threads(run, photos):
    records, _ = run(photos(40))
    next(records)
    records.close()
    assert not alive()


def test_a_label_of_another_size(run, scenes, picture_file):
    root = scenes()
    label = sorted(root.rglob("*labelTrainIds.png"))[2]
    picture_file(label, 1, (5, 6))
    with pytest.raises(ImageError, match=r"must have its image's size 13x14 .height x width., got 5x6") as caught:
        list(run(root, Task.SEGMENTATION)[0])
    assert label.name in str(caught.value)


def test_an_id_that_is_no_class(run, scenes, picture_file):
    root = scenes()
    label = min(root.rglob("*labelTrainIds.png"))
    picture_file(label, 9, (9, 14))
    with pytest.raises(ImageError, match=r"must hold ids 0\.\.3 or 255, got 9"):
        list(run(root, Task.SEGMENTATION)[0])


def test_a_picture_of_the_wrong_size_is_named(run, photos, colour_net):
    net = colour_net(Task.CLASSIFICATION, size_hw=(4, 4))
    object.__setattr__(net.card.preprocessing, "resize", net.card.preprocessing.resize.NONE)
    with pytest.raises(ImageError, match=r"000\.png: image must be 4x4"):
        list(run(photos(), net=net)[0])
