"""A report compares all models on the same images, and refuse what cannot be compared."""

import dataclasses
from pathlib import Path

import pytest

from hrnet_deploy.benchmark.timing import Latency
from hrnet_deploy.errors import UsageError
from hrnet_deploy.report import build_report, write_report
from hrnet_deploy.report.build import row_labels
from hrnet_deploy.report.tables import figure_table
from hrnet_deploy.spec import Task


@pytest.mark.slow
def test_rows_hold_what_was_found(photos_report):
    reference, like, other = photos_report.rows
    assert reference.comparison is None
    assert reference.worst_class is None
    assert like.comparison.agreement == 1
    assert like.examples == ()
    assert other.worst_class.index == 0
    assert len(other.examples) == 3
    assert [len(exhibit.panels) for exhibit in other.examples] == [1, 1, 1]


@pytest.mark.slow
def test_every_model_is_timed_on_single_images_from_the_first_on(photos, pixel_model):
    calls = []

    class Watched(pixel_model):
        def infer(self, feed):
            (pixels,) = feed.values()
            calls.append((self, len(pixels), int(pixels.flat[0])))
            return super().infer(feed)

    models = [Watched(Task.CLASSIFICATION) for _ in range(2)]
    report = build_report(models[0], models[1:], photos, limit=4, batch=4, workers=1, seconds=0.01)
    runs = report.reference.latency.samples
    assert runs >= 5
    assert [row.latency.samples for row in report.rows] == [runs, runs]
    timed = calls[-2 * 2 * runs :]  # of two calls the second counts
    assert [models.index(model) for model, _, _ in timed[:8]] == [0, 0, 1, 1, 1, 1, 0, 0]
    assert {count for _, count, _ in timed} == {1}
    levels = [[level for own, _, level in timed if own is model] for model in models]
    assert levels[0] == levels[1]
    assert levels[0][:4] == levels[0][4:8] or runs < 8


def test_few_runs_have_no_tail(photos_report, tmp_path):
    few = dataclasses.replace(photos_report.rows[1], latency=Latency.of([0.01] * 5))
    report = dataclasses.replace(photos_report, rows=(photos_report.rows[0], few, photos_report.rows[2]))
    assert report.to_dict()["rows"][1]["latency"] == {"median_ms": 10.0, "p95_ms": None, "runs": 5}
    assert "\n".join(figure_table(report).text()).splitlines()[2].split()[-3:-1] == ["10.0", "-"]
    write_report(report, tmp_path)


@pytest.mark.parametrize("seconds", [0, -1, 3601, float("nan")])
def test_time_to_spend(photos, pixel_model, seconds):
    model = pixel_model(Task.CLASSIFICATION)
    with pytest.raises(UsageError, match=r"seconds must be above 0 and at most 3600, got "):
        build_report(model, [model], photos, seconds=seconds)


@pytest.mark.parametrize("count", [0, 26])
def test_number_of_candidates(photos, pixel_model, count):
    model = pixel_model(Task.CLASSIFICATION)
    with pytest.raises(UsageError, match=rf"needs 1 to 25 candidates beside the reference, got {count}\."):
        build_report(model, [model] * count, photos)


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
