"""Markdown: one table whose cells stay cells, and foreign text that stays text."""

import re

from hrnet_deploy.report.markdown import as_markdown
from hrnet_deploy.system.text_table import escape_markdown


def test_every_artifact_and_the_headline_are_there(any_report):
    text = as_markdown(any_report)
    assert text.startswith("**")
    for row in any_report.rows:
        assert f"| {row.letter} | {escape_markdown(row.label)} |" in text


def test_rows_have_as_many_cells_as_the_header(any_report):
    table = [line for line in as_markdown(any_report).splitlines() if line.startswith("|")][: len(any_report.rows) + 2]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_no_markup_of_others_is_left(any_report):
    tags = set(re.findall(r"<[^>]*>", as_markdown(any_report)))
    assert tags == {"<details>", "<summary>", "</summary>", "</details>"}


def test_flips_are_counted(photos_report):
    text = as_markdown(photos_report)
    assert "B: The class changed in 3 of 12 images: 3 lost, 0 gained, 0 wrong both times." in text
    assert "A: No image changed: all 12 outputs equal the reference's." in text


def test_steps_from_the_checkpoint_stand_in_it_where_they_were_measured(photos_report, street_report):
    text = as_markdown(photos_report)
    assert "| left \\| out (needs &lt;b&gt;Pillow&lt;/b&gt;) |" in text
    assert "| INT8 | 75.00% | 27.00 | 20.00 to 30.00 | 25.00 | 73.00% |" in text
    assert "checkpoint" not in as_markdown(street_report)
