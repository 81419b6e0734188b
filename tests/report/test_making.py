"""Reports are made of the same images for all, and refuse what cannot be compared."""

import time
from pathlib import Path

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.report import make_report
from hrnet_deploy.report.making import row_labels
from hrnet_deploy.spec import Task


def test_rows_hold_what_was_found(photos_report):
    reference, like, other = photos_report.rows
    assert reference.contrast is None
    assert reference.worst is None
    assert like.contrast.agreement == 1
    assert like.exhibits == ()
    assert other.worst.index == 0
    assert len(other.exhibits) == 3
    assert [len(exhibit.panels) for exhibit in other.exhibits] == [1, 1, 1]


def test_every_net_is_timed_on_single_images_from_the_first_on(photos, pixel_net):
    calls = []

    class Watched(pixel_net):
        def infer(self, feed):
            (pixels,) = feed.values()
            calls.append((self, len(pixels), int(pixels.flat[0])))
            time.sleep(0.06)  # too long for calls that are not counted
            return super().infer(feed)

    nets = [Watched(Task.CLASSIFICATION) for _ in range(2)]
    report = make_report(nets[0], nets[1:], photos, limit=4, batch=4, workers=1, seconds=0.01)
    timed = calls[-10:]
    assert [nets.index(net) for net, _, _ in timed] == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1]
    assert {count for _, count, _ in timed} == {1}
    assert len({tuple(level for own, _, level in timed if own is net) for net in nets}) == 1
    assert [row.latency.samples for row in report.rows] == [5, 5]
    assert report.to_dict()["rows"][0]["latency"]["p95_ms"] is None


@pytest.mark.parametrize("seconds", [0, -1, 3601, float("nan")])
def test_time_to_spend(photos, pixel_net, seconds):
    net = pixel_net(Task.CLASSIFICATION)
    with pytest.raises(UsageError, match=r"seconds must be above 0 and at most 3600, got "):
        make_report(net, [net], photos, seconds=seconds)


@pytest.mark.parametrize("count", [0, 26])
def test_number_of_candidates(photos, pixel_net, count):
    net = pixel_net(Task.CLASSIFICATION)
    with pytest.raises(UsageError, match=rf"needs 1 to 25 candidates beside the reference, got {count}\."):
        make_report(net, [net] * count, photos)


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["a.onnx", "b.onnx"], ["a.onnx", "b.onnx"]),
        (["x/a.onnx", "y/a.onnx", "b.onnx"], ["x/a.onnx", "y/a.onnx", "b.onnx"]),
        (["a.onnx", "a.onnx", "a.onnx"], ["a.onnx", "a.onnx #2", "a.onnx #3"]),
        (["z/x/a.onnx", "z/y/a.onnx"], ["x/a.onnx", "y/a.onnx"]),
        (["a\n\u202eb.onnx"], ["a\ufffd\ufffdb.onnx"]),
    ],
)
def test_each_row_has_a_name_of_its_own(paths, labels):
    assert row_labels([Path(path) for path in paths]) == labels
