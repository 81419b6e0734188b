"""Numbers of flags have limits, and what the parser prints is escaped."""

import importlib
import os
import sys

import pytest

from hrnet_deploy.cli.parser import number, parser, whole_number
from hrnet_deploy.system import native_stderr

HUGE = str(2**32)
FLAGS = [
    *(("predict", flag, ("m.onnx", "a.png")) for flag in ("--threads", "--batch", "--topk", "--chunk")),
    *(("report", flag, ("a", "b", "--data", "d")) for flag in ("--threads", "--batch", "--limit", "--ignore-label")),
    ("bench", "--threads", ("a.onnx",)),
    *(("serve", flag, ("a.onnx",)) for flag in ("--threads", "--streams", "--queue", "--max-pixels", "--max-batch")),
]


@pytest.mark.parametrize(("module", "flag", "words"), FLAGS)
@pytest.mark.parametrize("value", [HUGE, "-1", "x", "9" * 5000])
def test_a_number_beyond_its_limits_names_the_flag(module, flag, words, value, capsys):
    command = importlib.import_module(f"hrnet_deploy.cli.{module}")
    with pytest.raises(SystemExit) as ended:
        command.parse_args([*words, f"{flag}={value}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert f"argument {flag}: must be a whole number from " in line
    assert len(line) < 250


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("7", 7)])
def test_limits_belong_to_the_range(text, value):
    assert whole_number(1, 7)(text) == value
    assert number(1, 7)(text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "0", "7.5", ""])
def test_a_number_is_finite_and_in_its_range(text):
    import argparse

    with pytest.raises(argparse.ArgumentTypeError, match="must be a number from 1 to 7, got"):
        number(1, 7)(text)


@pytest.mark.parametrize("words", [["\x1b[31m\nhrnet-x: forged"], ["--no\x1b-flag=\u202e"], ["--json=\udc80\a"]])
def test_an_error_of_the_parser_is_one_printable_line(words, capsys):
    with pytest.raises(SystemExit):
        parser("hrnet-x", "Does nothing.").parse_args(words)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hrnet-x: ")
    assert err[:-1].isprintable()


@pytest.mark.parametrize("name", ["export", "predict", "models", "doctor", "bench", "inspect", "report", "serve"])
def test_help_is_on_stdout(name, capsys, monkeypatch):
    command = importlib.import_module(f"hrnet_deploy.cli.{name}")
    monkeypatch.setattr(sys, "argv", [f"hrnet-{name}", "--help"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    assert out.startswith(f"usage: hrnet-{name}")
    assert ("--allow-special" in out) is (name not in {"models", "doctor"})
    assert ("--strict" in out) is (name in {"export", "predict", "report"})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("predict", ["m.onnx", "@list", "--out", "out"]),
        ("report", ["a.onnx", "b.onnx", "--data", "d"]),
        ("export", ["hrnet_w18"]),
    ],
)
def test_strict_is_refused_where_it_has_no_effect(name, words, capsys, monkeypatch):
    monkeypatch.delenv(native_stderr.STRICT, raising=False)
    monkeypatch.setattr(sys, "argv", [f"hrnet-{name}", *words, "--strict", "--executor", "ray://local"])
    try:
        assert importlib.import_module(f"hrnet_deploy.cli.{name}").main() == 2
    finally:
        os.environ.pop(native_stderr.STRICT, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "--strict applies on this machine only, got --executor ray://local" in line
