"""Triton releases by their TensorRT."""

import dataclasses
import re

import pytest

from hrnet_deploy.artifact.engine_sidecar import read_sidecar, sidecar_path
from hrnet_deploy.errors import UsageError
from hrnet_deploy.triton.releases import releases_of, triton_releases


def test_every_row_is_complete_and_has_its_source():
    rows = triton_releases()
    assert [row.triton for row in rows] == sorted({row.triton for row in rows})
    for row in rows:
        assert re.fullmatch(r"2\d\.\d\d", row.triton)
        assert re.fullmatch(r"\d+(\.\d+){3}", row.tensorrt)
        assert re.fullmatch(r"\d+\.\d", row.min_capability)
        assert re.fullmatch(r"\d+\.\d+(\.\d+)?", row.cuda)
        assert re.fullmatch(r"(\d+\.\d+\.\d+)?", row.onnxruntime)
        assert all(re.fullmatch(r"https://\S+", source) for source in row.source.split())
        assert row.source


@pytest.mark.parametrize(
    ("version", "capability", "found"),
    [
        ("10.5.0.18", "sm70", ["24.10"]),
        ("10.5.0", "sm90", ["24.10"]),
        ("10.5.0.19", "sm75", []),
        ("10.8.0.43", "sm75", ["25.01"]),
        ("10.8.0.43", "sm120", ["25.01"]),
        ("11.4.0.106", "sm75", []),
    ],
)
def test_an_engine_names_the_releases_that_load_it(engine, version, capability, found):
    sidecar = read_sidecar(sidecar_path(engine(version, capability)))
    assert [row.triton for row in releases_of(sidecar, "w18.engine")] == found


def test_an_engine_for_a_gpu_that_no_release_serves_is_refused(engine):
    sidecar = read_sidecar(sidecar_path(engine("10.8.0.43", "sm70")))
    with pytest.raises(UsageError, match=r"10\.8\.0\.43 must serve sm70.*got 25\.01 from 7\.5 on"):
        releases_of(sidecar, "w18.engine")
    both = dataclasses.replace(sidecar, capabilities=("sm70", "sm75"))
    with pytest.raises(UsageError, match="must serve sm70, sm75"):
        releases_of(both, "w18.engine")


def test_an_engine_of_tensorrt_rtx_is_refused(engine):
    sidecar = read_sidecar(sidecar_path(engine("1.7.1.116", "sm86", flavour="tensorrt-rtx")))
    with pytest.raises(UsageError, match=r"must be built by TensorRT, got w18\.engine by TensorRT-RTX 1\.7\.1\.116"):
        releases_of(sidecar, "w18.engine")
