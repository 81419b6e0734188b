import json
import subprocess
import sys

import pytest

from hrnet_deploy.engines.openvino import runtime
from hrnet_deploy.engines.openvino.runtime import DTYPES, abilities, half_hint, reason


@pytest.mark.parametrize(
    ("machine", "found", "hint"),
    [
        ("x86_64", {"FP32", "INT8", "BF16"}, "bf16"),
        ("AMD64", {"FP32", "FP16", "BF16"}, "bf16"),
        ("x86_64", {"FP32", "FP16"}, "f16"),
        ("x86_64", {"FP32", "INT8"}, "f32"),
        ("aarch64", {"FP32", "FP16", "BF16"}, "f16"),
        ("arm64", {"FP32", "FP16"}, "f16"),
        ("arm64", {"FP32", "BF16"}, "bf16"),
        ("aarch64", set(), "f32"),
    ],
)
def test_the_half_type_of_a_cpu(monkeypatch, machine, found, hint):
    monkeypatch.setattr(runtime, "abilities", lambda: frozenset(found))
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert half_hint() == hint
    assert hint in DTYPES


def test_this_cpu_computes_float32(openvino_cpu):
    assert "FP32" in abilities()
    assert half_hint() in DTYPES


@pytest.mark.slow
def test_loading_openvino_loads_no_telemetry(openvino_cpu):
    script = (
        "import json, sys; from hrnet_deploy.engines.openvino.runtime import load_openvino; load_openvino();"
        "print(json.dumps([name for name in sys.modules if 'openvino_telemetry' in name]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_an_error_is_one_line_without_places_in_the_sources():
    error = RuntimeError(
        "Exception from src/inference/src/cpp/core.cpp:217:\nException from src/x.cpp:9:\nCheck 'a' failed at y:\n"
        "Can't set the input tensor\nwith index: 0\n"
    )
    assert reason(error) == "Can't set the input tensor with index: 0"
    assert reason(RuntimeError("Check 'x' failed")) == "Check 'x' failed"


def test_threads_may_use_the_bindings_first_at_the_same_time():
    script = """
import os, sys, threading
from hrnet_deploy.engines.openvino.runtime import load_openvino
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
def use():
    start.wait()
    load_openvino().Type.f32.to_dtype()
threads = [threading.Thread(target=use, daemon=True) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join(20)
os._exit(any(thread.is_alive() for thread in threads))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=200, check=False).returncode == 0
