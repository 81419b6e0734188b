"""The run of every command: its streams, names that are hard to print, -q, and errors as one line and a code."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import hrnet_deploy
from hrnet_deploy.cli import commands

ROOT = Path(__file__).resolve().parents[2]

NOISY = """
import argparse, logging, sys, warnings
from hrnet_deploy.cli.console import print_message, print_result
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import parser
from hrnet_deploy.errors import UsageError

def parse(argv):
    return parser("hrnet-noisy", "Makes noise.").parse_args(argv)

def run(args):
    print_message(args, "a message")
    logging.getLogger("hrnet_deploy.x").warning("a log line")
    warnings.warn("a warning")
    print_result("a result")
    raise UsageError("thing must be right, got wrong. Mend it.")

raise SystemExit(launch("hrnet-noisy", parse, run))
"""


def started(code, *words, encoding="utf-8"):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(sys.path)}
    given = [sys.executable, "-c", code, *map(os.fsencode, words)]
    done = subprocess.run(given, capture_output=True, check=False, env=environment)
    return done.returncode, done.stdout.decode(encoding.split(":")[0]), done.stderr.decode("utf-8", "replace")


def command(module, *words, encoding="utf-8"):
    return started(f"from hrnet_deploy.cli.{module} import main; raise SystemExit(main())", *words, encoding=encoding)


def test_quiet_leaves_results_and_errors():
    code, out, err = started(NOISY, "-q")
    assert (code, out.strip()) == (2, "a result")
    assert err.strip() == "hrnet-noisy: thing must be right, got wrong. Mend it."


FAULTS = """
import argparse, os, sys, threading, warnings
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import parser

def parse(argv):
    return parser("hrnet-x", "Breaks.").parse_args([])

class Lost:
    def __del__(self):
        raise ValueError("lost")

def run(args):
    os.write(2, b"native \\x1b[31m\\n")
    sys.stderr.write("another library \\x1b[31m\\n")
    warnings.warn("two\\nlines \\x1b[31m")
    Lost()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise TypeError("a\\nb\\x1b[2J")

raise SystemExit(launch("hrnet-x", parse, run))
"""
FAULT = (
    r"hrnet-x: internal error (TypeError: a b\x1b[2J), which is a fault of hrnet_deploy. "
    "Run again with -v for the traceback and report it."
)


def test_a_fault_of_the_package_is_one_line_with_its_own_code():
    code, out, err = started(FAULTS)
    assert (code, out) == (70, "")
    assert err.splitlines() == [
        r"another library \x1b[31m",
        r"hrnet-x: UserWarning: two lines \x1b[31m (<string>:16)",
        "hrnet-x: internal error in a thread (ZeroDivisionError: division by zero)",
        FAULT,
    ]


def test_verbose_shows_native_lines_escaped_and_an_indented_traceback():
    err = started(FAULTS.replace("parse_args([])", 'parse_args(["-v"])'))[2]
    assert "\x1b" not in err
    assert r"DEBUG hrnet_deploy.system.native_stderr: native library: native \x1b[31m" in err.splitlines()
    assert "  Traceback (most recent call last):" in err.splitlines()
    assert "DEBUG hrnet_deploy.cli.interruption: an error could not be raised: lost" in err.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and a POSIX shell")
@pytest.mark.parametrize("words", ["models --json", "models --help", "--help"])
@pytest.mark.parametrize(
    ("redirection", "code", "line"),
    [
        (">/dev/full", 1, "standard output must be usable, got 'No space left on device'."),
        (">&-", 1, "standard output must be usable, got 'Bad file descriptor'."),
        (">/dev/null 2>/dev/full", 0, ""),
        (">/dev/null 2>&-", 0, ""),
        ("0<&- >/dev/null 2>/dev/null", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_streams_that_cannot_be_used(words, redirection, code, line):
    command = f"'{sys.executable}' -m hrnet_deploy {words} {redirection}"
    found = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == code
    assert line in found.stderr
    if code:
        assert len([text for text in found.stderr.splitlines() if "standard output" in text]) == 1
        assert "Exception" not in found.stderr


@pytest.mark.parametrize(
    ("module", "words", "name"),
    [
        ("predict", ["m.onnx", ""], "SOURCE"),
        ("predict", ["m.onnx", "a.png", " "], "SOURCE"),
        ("predict", ["m.onnx", "a.png", "--save", ""], "--save"),
        ("report", ["a.onnx", "b.onnx", "--data", ""], "--data"),
        ("export", ["hrnet_w18", "-o", ""], "-o/--output"),
        ("export", ["hrnet_w18", "--calib-data", ""], "--calib-data"),
    ],
)
def test_an_unset_variable_is_wrong_usage_in_every_command(module, words, name, monkeypatch, capsys):
    command = importlib.import_module(f"hrnet_deploy.cli.{module}")
    monkeypatch.setattr(sys, "argv", [f"hrnet-{module}", *words])
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 2
    assert f"argument {name}: must not be empty. Is a variable unset?" in capsys.readouterr().err


def test_warnings_are_shown_otherwise():
    err = started(NOISY)[2]
    assert "a message" in err
    assert "hrnet-noisy: a log line" in err
    assert "a warning" in err
    assert "WARNING hrnet_deploy.x: a log line" in started(NOISY, "-v")[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures whose names are hard to print."""
    root = tmp_path_factory.mktemp("names")
    content = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    names = ["a.png", "Käse.png", "漢字.png", "🐈.png", "two\nlines.png", "\x1b[31mred.png"]
    for name in (*map(os.fsencode, names), *([b"caf\xe9.png"] if sys.platform == "linux" else [])):
        (root / os.fsdecode(name)).write_bytes(content)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_every_picture_is_answered_whatever_its_name_is(photos_onnx, folder, encoding):
    count = len(list(folder.iterdir()))
    code, out, err = command("predict", photos_onnx, folder, "--device", "cpu", "-q", encoding=encoding)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == count
    assert "\x1b" not in out
    assert ("漢字.png" if encoding == "utf-8" else r"\u6f22\u5b57.png") in out
    code, out, err = command("predict", photos_onnx, folder, "--device", "cpu", "-q", "--json", encoding=encoding)
    assert (code, err) == (0, "")
    names = {json.loads(line)["name"] for line in out.splitlines()}
    assert names == {path.name for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    ("module", "words"), [("doctor", ["--target", "v100"]), ("models", []), ("export", ["--help"]), ("inspect", None)]
)
def test_no_command_ends_in_a_traceback_on_a_narrow_terminal(photos_onnx, module, words, encoding):
    code, out, err = command(module, *([photos_onnx] if words is None else words), encoding=encoding)
    assert code == 0
    assert out
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".jp2", ".avif", ".bmp"])
def test_a_damaged_picture_is_one_line(photos_onnx, tmp_path, suffix):
    path = tmp_path / f"bad{suffix}"
    content = cv2.imencode(suffix, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()
    path.write_bytes(content[: len(content) // 2] + (content[-12:] if suffix == ".png" else b""))
    code, out, err = command("predict", photos_onnx, path, "--device", "cpu")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(rf"bad\{suffix}' (cannot be decoded|must be complete)", err)


def test_every_installed_command_is_listed_and_knows_its_version(capsys):
    tomllib = pytest.importorskip("tomllib", reason="reading TOML came with Python 3.11")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {f"hrnet-{name}" for name in commands.COMMANDS}
    for name in commands.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"hrnet_deploy.cli.{name}").parse_args(["--version"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.strip() == f"hrnet-{name} {hrnet_deploy.__version__}"


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_package_lists_its_commands(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hrnet_deploy", *words])
    assert commands.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in commands.COMMANDS)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("word", "code"), [("models", 0), ("hrnet-models", 0), ("model", 2)])
def test_the_package_runs_a_command(word, code):
    command = [sys.executable, "-m", "hrnet_deploy", word, "hrnet_w18.ms_in1k"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == code
    assert ("hrnet_w18.ms_in1k" in found.stdout) is (code == 0)
    assert ("no command is named model" in found.stderr) is (code == 2)
