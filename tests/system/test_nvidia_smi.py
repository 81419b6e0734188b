import os

import pytest

from hrnet_deploy.system.nvidia_smi import parse_rows, query_gpus


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """(shell script) -> nvidia-smi is that script."""
    if os.name != "posix":
        pytest.skip("writes a shell script")

    def install(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_each_gpu_is_a_row_in_the_order_of_the_fields(smi):
    smi("echo 'Tesla T4, 570.1'; echo 'NVIDIA L4, 570.1'")
    assert query_gpus("name", "driver_version") == ([["Tesla T4", "570.1"], ["NVIDIA L4", "570.1"]], "")


def test_the_fields_reach_the_tool(smi):
    smi('echo "$1"')  # such as --query-gpu=clocks.sm,name: two cells, as its comma separates them
    assert query_gpus("clocks.sm", "name")[0] == [["--query-gpu=clocks.sm", "name"]]


@pytest.mark.parametrize(
    ("script", "note"),
    [
        (
            "echo 'NVIDIA-SMI has failed because it could\n not talk.'; exit 9",
            "could not talk",
        ),
        ("echo broken >&2; exit 1", "nvidia-smi: broken"),
        ("exit 0", "nvidia-smi: no answer"),
        ("echo one", "nvidia-smi: one"),
    ],
)
def test_a_failure_is_a_note_on_one_line(script, note, smi):
    smi(script)
    rows, reason = query_gpus("name", "driver_version")
    assert rows == []
    assert note in reason
    assert "\n" not in reason


def test_a_missing_tool_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert query_gpus("name") == ([], "nvidia-smi: not found")


def test_rows_of_other_lengths_are_left_out():
    assert parse_rows("a, b\nc\n\nd,e , f\n g,h ", 2) == [["a", "b"], ["g", "h"]]
