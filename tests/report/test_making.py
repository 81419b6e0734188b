"""Reports are made of the same images for all, and refuse what cannot be compared."""

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


def test_every_net_is_timed_equally_often(any_report):
    assert len({row.latency.runs for row in any_report.rows}) == 1
    assert all(0 < row.latency.median_ms <= row.latency.p95_ms for row in any_report.rows)


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
