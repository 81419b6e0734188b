"""The answer in words follows from the figures."""

import dataclasses

import pytest

from hrnet_deploy.benchmark.timing import Latency
from hrnet_deploy.report import judge
from hrnet_deploy.report.page import as_html
from hrnet_deploy.report.standing import Pair, Standing

X = "\N{MULTIPLICATION SIGN}"
COSTLY = (
    f"None is worth it yet: INT8 is 5.00{X} as fast, but at a loss of 25.00 points of top-1, more than 1% of what the"
)
SMALL = (
    f"Worth it for size, not for speed here: FP16 is 2.00{X} smaller, at no loss of top-1, and no candidate is faster"
)


def _with(report, *, times, targets=("", ""), sizes=(40, 20, 10), values=None):
    """The report with other times, targets and sizes."""
    rows = []
    for number, row in enumerate(report.rows):
        model = dataclasses.replace(row.model, size_bytes=sizes[number])
        evaluation = dataclasses.replace(row.evaluation, model=model)
        contrast = row.contrast
        if contrast is not None and values is not None:
            drop = dataclasses.replace(contrast.drop, points=values[number - 1])
            contrast = dataclasses.replace(contrast, drops=(drop,))
        target = targets[number - 1] if number else ""
        changed = {"evaluation": evaluation, "contrast": contrast, "standing": Standing("here cpu", target)}
        rows.append(dataclasses.replace(row, latency=Latency.of([times[number] / 1e3] * 9), **changed))
    return dataclasses.replace(report, rows=tuple(rows))


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
    verdict = judge(report)
    assert verdict.headline.startswith(headline)
    assert verdict.best is (None if best is None else report.rows[best])


def test_lines_say_cost_place_and_luck(photos_report, hostile):
    report = _with(photos_report, times=(10, 5, 2))
    like, other = judge(report).lines
    assert "answers everything as the reference does" in like
    assert "at a loss of 25.00 points of top-1 (95% interval" in other
    assert "75.00% of answers as the reference's" in other
    assert f"loses most on '{hostile[0]}' (100.00 points)" in other


def test_a_prediction_has_no_speed(photos_report):
    report = _with(photos_report, times=(10, 5, 2), targets=("a GPU", "TensorRT"))
    assert report.speed_up(report.rows[2]) is None
    verdict = judge(report)
    assert verdict.lines[1].endswith("Accuracy predicted for TensorRT from here cpu.")
    assert any("stand-in" in caution for caution in verdict.cautions)


def test_a_busy_machine_is_told_of(photos_report):
    def loaded(load):
        cpu = dataclasses.replace(photos_report.machine.processor, load=load, cores=2)
        return dataclasses.replace(photos_report, machine=dataclasses.replace(photos_report.machine, processor=cpu))

    busy = loaded(9.0)
    assert any("load 9.0 on 2 cores" in caution for caution in judge(busy).cautions)
    assert not any("busy" in caution for caution in judge(loaded(0.5)).cautions)


def test_predicted_and_measured_stand_side_by_side(photos_report):
    paired = dataclasses.replace(photos_report, pairs=(Pair(1, 2, -25.0),))
    page = as_html(paired)
    assert "Predicted and measured" in page
    assert "\N{MINUS SIGN}25.00" in page
    assert paired.to_dict()["predictions"] == [
        {"predicted": paired.rows[1].label, "measured": paired.rows[2].label, "gap_points": -25.0}
    ]
