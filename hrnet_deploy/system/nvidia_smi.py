"""The GPUs of this machine as NVIDIA's tool nvidia-smi reports them."""

from __future__ import annotations

import shutil
import subprocess

from hrnet_deploy.errors import one_line

_TIMEOUT_S = 20


def query_gpus(*fields: str) -> tuple[list[list[str]], str]:
    """Query each GPU with nvidia-smi for fields such as "clocks.sm"; nothing raises.

    Returns one row of values for each GPU, in the order of the fields, and "" or why there is none.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], "nvidia-smi: not found"
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        return [], f"nvidia-smi: {one_line(error, 200)}"
    rows = parse_rows(done.stdout, len(fields))
    if done.returncode == 0 and rows:
        return rows, ""
    return [], f"nvidia-smi: {one_line(done.stdout or done.stderr, 200) or 'no answer'}"


def parse_rows(text: str, columns: int) -> list[list[str]]:
    """Parse lines of comma-separated values; lines of another number of columns are left out."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == columns]
