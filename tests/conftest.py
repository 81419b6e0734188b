"""What every test shares: the demo's nets, one export of each, and where ../shared is."""

import gc
import os
import platform
import signal
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest

from hrnet_deploy import export
from hrnet_deploy.system.cores import cores
from hrnet_deploy.system.nvidia_smi import query_gpus
from hrnet_deploy.system.processor import model_name
from hrnet_deploy.version import VERSION

# Reasons that a machine with a GPU may give for leaving a GPU test out; all others are faults there.
FITTING_REASONS = ("not installed: ", "the table refuses this card: ", "could not import ")
GPU_SUITE = "HRNET_DEPLOY_GPU_SUITE"

# A shell's background job ignores Ctrl-C, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Caches of the tests are not the user's; processes they start inherit it."""
    os.environ["HRNET_DEPLOY_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_collection_finish():
    """Leave imported modules and collected tests out of garbage collections: some tests ask for many."""
    gc.collect()
    gc.freeze()


def pytest_report_header():
    """Versions and devices, so that a log names the machine it is from."""
    packages = (
        "torch",
        "onnx",
        "onnxruntime",
        "openvino",
        "numpy",
        "opencv-python",
        "opencv-python-headless",
        "tensorrt",
        "tensorrt-rtx",
    )
    lines = [f"hrnet-deploy {VERSION} on {model_name() or platform.machine()}, {cores()} cores"]
    installed = {dist.metadata["Name"].lower(): dist.version for dist in distributions() if dist.metadata["Name"]}
    lines.append(", ".join(f"{name} {installed[name]}" for name in packages if name in installed))
    gpus, reason = query_gpus("name", "driver_version")
    lines.append("; ".join(" ".join(row) for row in gpus) or f"no NVIDIA GPU ({reason})")
    return lines


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Where benchmarks/gpu_suite.py sees a card, a GPU test that finds no way to it has failed, not passed."""
    report = yield
    if os.environ.get(GPU_SUITE) and report.skipped and item.get_closest_marker("gpu") is not None:
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(FITTING_REASONS):
            report.outcome = "failed"
            report.longrepr = f"There is a GPU here, and this test did not reach it: {reason}"
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with fixtures, weights and data that are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared fixtures at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def demo() -> Path:
    """The folder with the demo's trained weights."""
    return ROOT / "demo"


@pytest.fixture(scope="session")
def photos_onnx(demo, tmp_path_factory) -> Path:
    """The 10-class photo classifier at 64x64."""
    return export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        imgsz=64,
        resize="squash",
        classes=demo / "photos10.txt",
        output=tmp_path_factory.mktemp("photos") / "photos.onnx",
    ).path


@pytest.fixture(scope="session")
def street_onnx(demo, tmp_path_factory) -> Path:
    """The street net with open sizes."""
    return export(
        weights=demo / "hrnetv2_w18_small_v1_street.pth",
        imgsz="dynamic",
        output=tmp_path_factory.mktemp("street") / "street.onnx",
    ).path


@pytest.fixture(scope="session")
def triton(tmp_path_factory):
    """A real Triton server on an empty repository: write a model into `triton.repository`, then `triton.load(name)`."""
    from helpers.triton_server import triton_server

    repository = tmp_path_factory.mktemp("repository")
    with triton_server(repository, tmp_path_factory.mktemp("triton"), "--model-control-mode=explicit") as server:
        yield server


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A picture with natural statistics, BGR uint8 (120, 160, 3)."""
    from hrnet_deploy.imaging.synthetic_images import synthetic_images

    return synthetic_images(1, (120, 160))[0]


@pytest.fixture(scope="session")
def jpegs() -> list[bytes]:
    """Six encoded images of different sizes."""
    import cv2

    from hrnet_deploy.imaging.synthetic_images import synthetic_images

    sizes = [(120, 160), (64, 64), (97, 33), (200, 300), (66, 130), (256, 192)]
    return [cv2.imencode(".jpg", synthetic_images(1, size)[0])[1].tobytes() for size in sizes]


@pytest.fixture(scope="session")
def features_onnx(demo, tmp_path_factory) -> Path:
    """The 10-class photo classifier at 64x64, with its embedding and its branch maps as further outputs."""
    return export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        imgsz=64,
        resize="squash",
        classes=demo / "photos10.txt",
        features="pooled,maps",
        output=tmp_path_factory.mktemp("features") / "features.onnx",
    ).path
