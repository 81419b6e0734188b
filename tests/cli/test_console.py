"""What is printed: one line for each line given, whatever it holds, and JSON with the same value."""

import argparse
import json
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.cli import console

HOSTILE = "a\x1b[31m\a\b\x7f\x9b\u202e\u2028\r\nhrnet-predict: forged\udc80"


@pytest.mark.parametrize("show", [console.print_result, console.print_lines])
def test_a_line_stays_a_line(show, capsys):
    show(HOSTILE, "second")
    printed = "".join(capsys.readouterr())
    assert printed == ("a\\x1b[31m\\x07\\x08\\x7f\\x9b\\u202e\\u2028\\r\\nhrnet-predict: forged\\udc80\nsecond\n")


@given(st.text(st.characters()))
def test_json_keeps_its_value_and_is_printable(text):
    class Stream:
        encoding, written = "utf-8", ""

        def write(self, written):
            Stream.written = written

    before, sys.stdout = sys.stdout, Stream()
    try:
        console.print_json({"name": text}, compact=True)
    finally:
        sys.stdout = before
    assert json.loads(Stream.written) == {"name": text}
    assert Stream.written[:-1].isprintable()


def test_json_on_a_narrow_terminal_has_its_own_escapes(monkeypatch, capsys):
    monkeypatch.setattr(type(sys.stdout), "encoding", "ascii", raising=False)
    console.print_json(["🐈"])
    assert json.loads(capsys.readouterr().out) == ["🐈"]


def test_messages_are_left_out_when_quiet(capsys):
    for quiet in (True, False):
        console.print_message(argparse.Namespace(quiet=quiet), "one", "two\nlines")
    assert capsys.readouterr().err == "one\ntwo\\nlines\n"


def test_a_log_record_is_one_line_and_its_traceback_is_indented(capsys):
    handler = console.LineHandler("prog: %(message)s", verbose=True)
    try:
        raise ValueError("first\nprog: forged\x1b[2J")
    except ValueError:
        info = sys.exc_info()
    handler.handle(logging.LogRecord("x", logging.ERROR, "f", 1, "two\nlines %s", ("\x1b",), info))
    first, *others = capsys.readouterr().err.splitlines()
    assert first == r"prog: two lines \x1b (ValueError: first prog: forged\x1b[2J)"
    assert len(others) >= 3
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in "".join(others)


def test_a_record_that_cannot_be_formatted_is_shown_as_it_is(capsys):
    handler = console.LineHandler("prog: %(message)s", verbose=False)
    handler.handle(logging.LogRecord("x", logging.ERROR, "f", 1, "%d\nimages", ("many",), None))
    assert capsys.readouterr().err == "%d images\n"


def test_progress_is_one_line_that_the_next_one_clears(capsys):
    console.print_progress("a\x1b[9A\n" + "b" * 200)
    console.print_progress("")
    shown = capsys.readouterr().err
    assert shown == f"\r\x1b[Ka\\x1b[9A\\n{'b' * 70}\r\x1b[K"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_cannot_be_written_names_standard_output_once(monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        console.print_result("a")
        with pytest.raises(OSError, match="No space left") as caught:
            console.flush_output()
        assert caught.value.filename == "standard output"
        console.flush_output()  # the rest goes nowhere


def test_a_closed_standard_output_is_no_silent_success(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="standard output"):
        console.print_result("a")
    console.flush_output()


def test_a_closed_standard_error_ends_no_run(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    console.print_lines("a")
