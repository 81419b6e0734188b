"""The conclusion follows from the figures."""

import dataclasses

import pytest

from hrnet_deploy.benchmark.timing import Latency
from hrnet_deploy.evaluation.runtime_status import PredictionPair, RuntimeStatus
from hrnet_deploy.report import summarize
from hrnet_deploy.report.html import as_html
from hrnet_deploy.spec import Precision, Task

X = "\N{MULTIPLICATION SIGN}"
COSTLY = (
    f"No candidate is worth it: INT8 is 5.00{X} as fast, but at a loss of 25.00 points of top-1, more than 1% of the "
    "reference's top-1."
)
SMALL = (
    f"Worth it for size, not for speed here: FP16 is 2.00{X} smaller, at no loss of top-1, and no candidate is faster"
)


def _quiet(report, load=0.1):
    """The report of a machine with that load on two cores."""
    cpu = dataclasses.replace(report.machine.processor, load=load, cores=2)
    return dataclasses.replace(report, machine=dataclasses.replace(report.machine, processor=cpu))


def _with(report, *, times, targets=("", ""), sizes=(40, 20, 10), values=None):
    """The report with other times, targets and sizes."""
    rows = []
    for number, row in enumerate(report.rows):
        model = dataclasses.replace(row.model, size_bytes=sizes[number])
        evaluation = dataclasses.replace(row.evaluation, model=model)
        comparison = row.comparison
        if comparison is not None and values is not None:
            drop = dataclasses.replace(comparison.drop, points=values[number - 1])
            comparison = dataclasses.replace(comparison, drops=(drop,))
        target = targets[number - 1] if number else ""
        changed = {
            "evaluation": evaluation,
            "comparison": comparison,
            "runtime_status": RuntimeStatus("here cpu", target),
        }
        rows.append(dataclasses.replace(row, latency=Latency.of([times[number] / 1e3] * 9), **changed))
    return _quiet(dataclasses.replace(report, rows=tuple(rows)))


@pytest.mark.parametrize(
    ("changes", "headline", "best"),
    [
        ({"times": (10, 5, 2)}, f"FP16 is worth it: 2.00{X} as fast and 2.00{X} smaller, at no loss of top-1.", 1),
        ({"times": (10, 12, 2)}, COSTLY, None),
        ({"times": (10, 12, 11)}, SMALL, None),
        ({"times": (10, 12, 11), "sizes": (40, 40, 40)}, "Not worth it here: no candidate is faster than ", None),
        ({"times": (10, 5, 2), "targets": ("a GPU", "TensorRT")}, "Accuracy is predicted, speed is not: ", None),
        ({"times": (10, 10, 2), "targets": ("", "TensorRT"), "sizes": (40, 40, 40)}, "Not worth it here", None),
    ],
)
def test_headline(photos_report, changes, headline, best):
    report = _with(photos_report, **changes)
    summary = summarize(report)
    assert summary.headline.startswith(headline)
    assert summary.best is (None if best is None else report.rows[best])


def test_lines_state_cost_class_and_significance(photos_report, hostile):
    report = _with(photos_report, times=(10, 5, 2))
    like, other = summarize(report).lines
    assert "all outputs equal the reference's" in like
    assert "at a loss of 25.00 points of top-1 (95% interval" in other
    assert "75.00% of outputs equal the reference's" in other
    assert f"largest loss on '{hostile[0]}' (100.00 points)" in other


def test_a_prediction_has_no_speed(photos_report):
    report = _with(photos_report, times=(10, 5, 2), targets=("a GPU", "TensorRT"))
    assert report.speed_up(report.rows[2]) is None
    summary = summarize(report)
    assert summary.lines[1].endswith("Accuracy predicted for TensorRT from here cpu.")
    assert any("did not run on their target" in caution for caution in summary.cautions)


def test_a_busy_machine_is_reported(photos_report):
    quiet = _with(photos_report, times=(10, 5, 2))
    busy = _quiet(quiet, 9.0)
    assert any("load 9.0 on 2 cores" in caution for caution in summarize(busy).cautions)
    assert not any("busy" in caution for caution in summarize(quiet).cautions)
    assert summarize(busy).headline == (
        f"Unconfirmed (the machine was busy: load 9.0 on 2 cores): FP16 seems worth it: 2.00{X} as fast and 2.00{X} "
        "smaller, at no loss of top-1."
    )


def test_few_images_are_reported(photos_report):
    quiet = _with(photos_report, times=(10, 5, 2))
    data = dataclasses.replace(quiet.comparison.reference.data, images=4)
    reference = dataclasses.replace(quiet.comparison.reference, data=data)
    few = dataclasses.replace(quiet, comparison=dataclasses.replace(quiet.comparison, reference=reference))
    assert summarize(few).headline.startswith("Unconfirmed (only 4 images): FP16 seems worth it: ")


def test_speeds_of_two_devices_are_reported(photos_report):
    quiet = _with(photos_report, times=(10, 5, 2))
    row = quiet.rows[1]
    model = dataclasses.replace(row.model, device="cuda:0")
    moved = dataclasses.replace(row, evaluation=dataclasses.replace(row.evaluation, model=model))
    report = dataclasses.replace(quiet, rows=(quiet.rows[0], moved, quiet.rows[2]))
    assert summarize(report).headline.startswith("Unconfirmed (speeds of different devices: cpu and cuda): ")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_reference_at_chance_level_allows_no_conclusion(pixel_model, photos, scenes, task):
    from hrnet_deploy.report import build_report

    wrong = {0: 1, 1: 2, 2: 3, 3: 0}
    models = [
        pixel_model(Task(task), mistakes=wrong, precision=precision) for precision in (Precision.FP32, Precision.INT8)
    ]
    data = photos if task == "classification" else scenes
    report = _with(build_report(models[0], models[1:], data, seconds=0.01), times=(10, 1))
    summary = summarize(report)
    assert summary.headline.startswith("No conclusion from this comparison: the reference achieves 0.00% ")
    assert summary.best is None
    assert "worth it" not in summary.headline
    assert "keeps 99%" not in as_html(report)


@pytest.mark.slow
def test_one_class_for_everything_is_chance_level(pixel_model, photos):
    from hrnet_deploy.report import build_report

    always = pixel_model(Task.CLASSIFICATION, mistakes={1: 0, 2: 0, 3: 0})
    report = build_report(always, [always], photos, seconds=0.01)
    assert report.reference.evaluation.metrics.value == 0.25
    assert summarize(report).headline.startswith("No conclusion")


def test_a_reference_away_from_its_target_has_no_speed_to_compare_with(photos_report):
    report = _with(photos_report, times=(10, 5, 2))
    first = dataclasses.replace(report.rows[0], runtime_status=RuntimeStatus("here cpu", "TensorRT"))
    report = dataclasses.replace(report, rows=(first, *report.rows[1:]))
    assert report.speed_up(report.rows[1]) is None
    assert summarize(report).headline.startswith("Speed cannot be compared: ")


def test_predicted_and_measured_stand_side_by_side(photos_report):
    paired = dataclasses.replace(photos_report, pairs=(PredictionPair(1, 2, -25.0),))
    page = as_html(paired)
    assert "Predicted and measured" in page
    assert "\N{MINUS SIGN}25.00" in page
    assert paired.to_dict()["predictions"] == [
        {"predicted": paired.rows[1].label, "measured": paired.rows[2].label, "gap_points": -25.0}
    ]
