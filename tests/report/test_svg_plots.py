"""Plots start where they should, and foreign text stays text."""

import dataclasses
import re

import pytest

from hrnet_deploy.report.svg_plots import class_plot, drop_plot, scatter_plot, waterfall_plot


def test_each_bar_starts_at_the_end_of_the_one_before(photos_report):
    bars = re.findall(r'<rect x="([\d.]+)" .*?width="([\d.]+)" .*?class="([a-z ]+)"', waterfall_plot(photos_report))
    (better, change, gained), (start, _, lost) = [(float(x), float(width), kind) for x, width, kind in bars]
    assert (gained, lost) == ("bar gained", "bar lost")  # the first is a line at 0, one could not be measured
    assert start == better
    assert change > 1


def test_steps_that_all_fail_leave_a_plot_that_can_be_drawn(photos_report):
    left_out = tuple(dataclasses.replace(step, value=None, reason="none") for step in photos_report.waterfall)
    assert "<svg" in waterfall_plot(dataclasses.replace(photos_report, waterfall=left_out))


@pytest.mark.parametrize("name", ["drop", "scatter", "waterfall", "class"])
def test_foreign_text_is_no_markup(photos_report, name):
    rows = tuple(dataclasses.replace(row, label=f'{row.letter}"><script>x</script>\x1b') for row in photos_report.rows)
    report = dataclasses.replace(photos_report, rows=rows)
    plots = {"drop": drop_plot, "scatter": scatter_plot, "waterfall": waterfall_plot}
    text = class_plot(report, rows[2]) if name == "class" else plots[name](report)
    assert "\x1b" not in text
    tags = set(re.findall(r"<(\w+)", text))
    assert tags <= {"svg", "text", "title", "line", "circle", "rect"}
