"""Virtual environments of programs that others wrote, whose packages do not fit beside ours."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from hrnet_deploy.system.file_lock import exclusive

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = "HRNET_DEPLOY_REQUIRE_PEERS"  # .ci/run sets it: a test without its peer fails there


def peer_python(name: str, *requirements: str, without_dependencies: tuple[str, ...] = ()) -> Path:
    """Python of the environment `build/peers/NAME-DIGEST`, made once from the package registry; skips without it."""
    wanted = "\n".join([sys.version, *requirements, "--", *without_dependencies])
    folder = ROOT / "build" / "peers" / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, "install"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run("venv", "--python", sys.executable, str(folder))
            python = ("--python", str(folder / "bin" / "python"))
            if requirements:
                _run("pip", "install", *python, *requirements)
            if without_dependencies:
                _run("pip", "install", *python, "--no-deps", *without_dependencies)
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _run(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"uv {' '.join(words[:2])} failed: {done.stderr.strip()[-300:]}")


def missing(reason: str) -> NoReturn:
    """End a test that lacks its peer: a failure where peers are required, else a skip."""
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(f"not installed: {reason}")
