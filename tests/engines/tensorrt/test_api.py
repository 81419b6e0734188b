"""What a TensorRT can do is seen by looking at it."""

import sys
import types

import pytest

from hrnet_deploy.engines.tensorrt import api as room
from hrnet_deploy.engines.tensorrt.api import TrtApi, find_api
from hrnet_deploy.errors import MissingDependencyError, UsageError

ABILITIES = (
    "strong_typing", "weak_typing", "implicit_int8", "explicit_batch", "progress_monitor", "compute_targets",
    "timing_cache",
)  # fmt: skip


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("8.6.1", {"weak_typing", "implicit_int8", "explicit_batch", "timing_cache"}),
        ("10.13.0.35", set(ABILITIES) - {"compute_targets"}),
        ("11.4.0.106", {"strong_typing", "progress_monitor", "timing_cache"}),
    ],
)
def test_abilities_by_version(fake, version, expected):
    api = fake(version)
    assert {name for name in ABILITIES if getattr(api, name)} == expected
    assert api.label == f"TensorRT {version}"


@pytest.mark.slow
@pytest.mark.rtx
def test_abilities_of_rtx():
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX")
    api = find_api("tensorrt-rtx")
    expected = {"strong_typing", "progress_monitor", "compute_targets"}
    assert {name for name in ABILITIES if getattr(api, name)} == expected
    assert api.compute_targets[0] == "sm75"
    assert {"sm86", "sm120"} <= set(api.compute_targets)
    assert "current" not in api.compute_targets
    assert api.label.startswith("TensorRT-RTX 1.")


@pytest.fixture
def installed(monkeypatch):
    """(name=module) -> those modules are importable, and no other TensorRT."""

    def install(**modules):
        def load(name):
            found = modules.get(name, ModuleNotFoundError(f"No module named '{name}'"))
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(room.importlib, "import_module", load)

    return install


REAL = types.SimpleNamespace(Builder=object, __version__="10.4.0")
EMPTY = types.ModuleType("tensorrt")


@pytest.mark.parametrize(
    ("modules", "backend", "flavour"),
    [
        ({"tensorrt": REAL, "tensorrt_rtx": REAL}, "auto", "tensorrt"),
        ({"tensorrt": REAL, "tensorrt_rtx": REAL}, "tensorrt-rtx", "tensorrt-rtx"),
        ({"tensorrt": EMPTY, "tensorrt_rtx": REAL}, "auto", "tensorrt-rtx"),
        ({"tensorrt_rtx": REAL}, "auto", "tensorrt-rtx"),
    ],
)
def test_the_first_that_is_installed_is_taken(installed, modules, backend, flavour):
    installed(**modules)
    assert find_api(backend) == TrtApi(REAL, flavour, "10.4.0")


@pytest.mark.parametrize(
    ("modules", "backend", "message"),
    [
        ({}, "auto", r"tensorrt or tensorrt-rtx, got: No module named 'tensorrt'\. pip install .*\[tensorrt\]'\.$"),
        ({}, "tensorrt-rtx", r"of tensorrt-rtx, got: .*pip install 'hrnet-deploy\[tensorrt-rtx\]'\.$"),
        ({"tensorrt": EMPTY}, "tensorrt", "only an empty package of that name"),
        ({"tensorrt_rtx": OSError("libfoo.so:\n not found")}, "auto", r"does not load \(libfoo.so: not found\).*-rtx"),
    ],
)
def test_what_is_missing_names_the_pip_line(installed, modules, backend, message):
    installed(**modules)
    with pytest.raises(MissingDependencyError, match=message):
        find_api(backend)


def test_an_unknown_backend_is_refused():
    with pytest.raises(UsageError, match="must be one of auto, tensorrt, tensorrt-rtx, got 'trt'"):
        find_api("trt")


def test_importing_the_room_imports_no_tensorrt():
    import subprocess

    code = "import sys, hrnet_deploy.engines.tensorrt.builder; sys.exit(any('tensorrt_' in m for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
