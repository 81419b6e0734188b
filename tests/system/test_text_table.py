"""One table as text, Markdown and CSV, and foreign names as harmless text."""

import csv
import io

import pytest

from hrnet_deploy.system.text_table import WIDTH, Table, escape_markdown, printable, visible, wrapped

TABLE = Table(("name", "points"), [("a|b", "-1.5"), ("=1+1", "12")], ("name",))


def test_words_are_aligned_left_and_numbers_right():
    assert TABLE.text() == ["name  points", "a|b     -1.5", "=1+1      12"]


def test_markdown_cells_stay_cells():
    assert TABLE.markdown() == ["| name | points |", "| :-- | --: |", "| a\\|b | -1.5 |", "| =1+1 | 12 |"]


def test_csv_holds_no_formula_and_comes_back():
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [["name", "points"], ["a|b", "-1.5"], ["'=1+1", "12"]]


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        Table(("a", "b"), [("1", "2", "3")]).text()


def test_control_characters_are_escaped_or_replaced():
    assert printable("a\n\x1b\u202e") == r"a\n\x1b\u202e"
    assert visible("a\tb\x00\u202e\udcff") == "a\ufffdb\ufffd\ufffd\ufffd"


def test_long_text_is_wrapped_with_a_hanging_indent():
    lines = wrapped("word " * 40, "label ")
    assert len(lines) > 1
    assert max(map(len, lines)) <= WIDTH
    assert [line[:6] for line in lines] == ["label ", *["      "] * (len(lines) - 1)]
    assert wrapped("", "label ") == ["label"]


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
def test_foreign_text_is_escape_markdown(text, expected):
    assert escape_markdown(text) == expected
