"""Programs of examples/: the forms of artifacts that they meet, their npm packages, and what they must predict."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest
from helpers.peer_environment import ROOT

from hrnet_deploy.system.file_lock import exclusive

EXAMPLES = ROOT / "examples"
WITHIN_S = 180
CLIENT = {"pixels_in": True, "labels_out": True}
FORMS = {
    "photos": CLIENT,
    "photos-fp16": CLIENT | {"precision": "fp16"},
    "photos-int8": CLIENT | {"precision": "int8"},
    "photos-opset17": CLIENT | {"opset": 17},
    "photos-opset26": CLIENT | {"opset": 26},
    "photos-crop": {"resize": "short-side", "pixels_in": "rgb", "labels_out": True},
    "photos-plain": {},
    "photos-plain-fp16": {"precision": "fp16"},
    "photos-plain-opset17": {"opset": 17},
    "photos-plain-opset26": {"opset": 26},
    "photos-softmax": {"labels_out": "softmax"},
    "street": CLIENT,
    "street-fp16": CLIENT | {"precision": "fp16"},
    "street-int8": CLIENT | {"precision": "int8"},
    "street-plain": {},
}
"""Export options by the name of a form; the model comes before the first hyphen."""


def program(name: str) -> str:
    """Path of a program; without it the test is skipped."""
    return shutil.which(name) or pytest.skip(f"not installed: {name} is not on the PATH")


def with_packages(example: str, scratch: Path) -> Path:
    """Copy of an example and of examples/browser, whose module it shares, with the packages of its package.json."""
    npm = program("npm")
    wanted = (EXAMPLES / example / "package.json").read_bytes()
    installed = ROOT / "build" / "peers" / f"npm-{example}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    installed.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(installed, "install"):
        if not (installed / "complete").exists():
            shutil.rmtree(installed, ignore_errors=True)
            installed.mkdir()
            (installed / "package.json").write_bytes(wanted)
            words = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(words, cwd=installed, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"not installed: npm failed: {done.stderr.strip()[-300:]}")
            (installed / "complete").touch()
    for folder in {example, "browser"}:
        shutil.copytree(EXAMPLES / folder, scratch / folder, ignore=shutil.ignore_patterns("node_modules"))
    (scratch / example / "node_modules").symlink_to(installed / "node_modules")
    return scratch / example


def run(*words: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=WITHIN_S, check=False)


def check_lines(lines: str, result) -> None:
    """Compare lines of score and class with a classifier's result."""
    pairs = [line.split(" ", 1) for line in lines.splitlines()]
    best = result.topk()
    assert [name for _, name in pairs] == [name for name, _ in best]
    assert max(abs(float(score) - mine) for (score, _), (_, mine) in zip(pairs, best, strict=True)) < 2e-6


def check_mask(path: Path, result) -> None:
    """Compare a mask file with a segmentation result, pixel by pixel."""
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == result.mask.shape
    assert (mask != result.mask).sum() == 0
