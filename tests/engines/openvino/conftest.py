"""Tests of OpenVINO run wherever it offers a CPU, whoever made that."""

import pytest

from hrnet_deploy.engines.openvino.runtime import load_core
from hrnet_deploy.errors import DeviceError, MissingDependencyError


@pytest.fixture(scope="session")
def openvino_cpu():
    """OpenVINO's core."""
    try:
        return load_core()
    except (DeviceError, MissingDependencyError) as error:
        pytest.skip(f"OpenVINO offers no CPU here: {error}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
