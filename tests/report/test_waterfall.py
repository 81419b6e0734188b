"""Steps from the checkpoint stand in every format, and only where they were measured."""

import dataclasses
import re

from hrnet_deploy.report.markdown import as_markdown
from hrnet_deploy.report.page import as_html
from hrnet_deploy.report.plots import step_plot
from hrnet_deploy.report.waterfall import cells, headers
from hrnet_deploy.report.writing import record

MINUS = "\N{MINUS SIGN}"


def test_one_line_a_step(photos_report):
    assert headers("top-1")[1] == "top-1"
    assert [cells(step) for step in photos_report.waterfall] == [
        ("checkpoint <i>w</i>", "100.00%", "-", "-", "-", "-"),
        ("left | out (needs <b>Pillow</b>)", "-", "-", "-", "-", "-"),
        ("FP16", "102.00%", f"{MINUS}2.00", "-", f"{MINUS}2.00", "98.00%"),
        ("INT8", "75.00%", "27.00", "20.00 to 30.00", "25.00", "73.00%"),
    ]


def test_every_format_has_them(photos_report):
    page, text = as_html(photos_report), as_markdown(photos_report)
    assert 'id="waterfall"' in page
    assert "checkpoint &lt;i&gt;w&lt;/i&gt;" in page
    assert "| left \\| out (needs &lt;b&gt;Pillow&lt;/b&gt;) |" in text
    assert "| INT8 | 75.00% | 27.00 | 20.00 to 30.00 | 25.00 | 73.00% |" in text
    assert [step["name"] for step in record(photos_report)["waterfall"]] == [s.name for s in photos_report.waterfall]


def test_without_steps_nothing_is_said(street_report):
    assert street_report.waterfall == ()
    assert 'id="waterfall"' not in as_html(street_report)
    assert "checkpoint" not in as_markdown(street_report)
    assert record(street_report)["waterfall"] == []


def test_each_bar_begins_where_the_one_before_ended(photos_report):
    bars = re.findall(r'<rect x="([\d.]+)" .*?width="([\d.]+)" .*?class="([a-z ]+)"', step_plot(photos_report))
    (better, change, gained), (begin, _, lost) = [(float(x), float(width), kind) for x, width, kind in bars]
    assert (gained, lost) == ("bar gained", "bar lost")  # the first is a line at 0, one could not be measured
    assert begin == better
    assert change > 1


def test_steps_that_all_fail_leave_a_plot_that_can_be_drawn(photos_report):
    left_out = tuple(dataclasses.replace(step, value=None, reason="none") for step in photos_report.waterfall)
    assert "<svg" in step_plot(dataclasses.replace(photos_report, waterfall=left_out))
