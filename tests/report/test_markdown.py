"""Markdown: one table whose cells stay cells, and foreign text that stays text."""

import re

import pytest

from hrnet_deploy.report.markdown import as_markdown, escaped


def test_every_artefact_and_the_headline_are_there(any_report):
    text = as_markdown(any_report)
    assert text.startswith("**")
    for row in any_report.rows:
        assert f"| {row.letter} | {escaped(row.label)} |" in text


def test_rows_have_as_many_cells_as_the_header(any_report):
    table = [line for line in as_markdown(any_report).splitlines() if line.startswith("|")][: len(any_report.rows) + 2]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_no_markup_of_others_is_left(any_report):
    tags = set(re.findall(r"<[^>]*>", as_markdown(any_report)))
    assert tags == {"<details>", "<summary>", "</summary>", "</details>"}


def test_flips_are_counted(photos_report):
    assert "B: 3 of 12 images flipped, 3 lost, 0 gained" in as_markdown(photos_report)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("street_int8.onnx", "street_int8.onnx"),
        ("a|b", "a\\|b"),
        ("<b>", "&lt;b&gt;"),
        ("**x** `y`", "\\*\\*x\\*\\* \\`y\\`"),
        ("[a](b)", "\\[a\\](b)"),
        ("_a_", "\\_a\\_"),
        ("two\nlines\u202e", "two\ufffdlines\ufffd"),
        ("@someone #1", "\\@someone \\#1"),
        ("1.5 (95% interval)", "1.5 (95% interval)"),
    ],
)
def test_foreign_text_is_escaped(text, expected):
    assert escaped(text) == expected
