"""find_runtimes: what operators, opset and kind decide. tests/examples compare the table with the runtimes."""

from pathlib import Path

import pytest

from hrnet_deploy.integrity.inspect import Inspection, inspect
from hrnet_deploy.integrity.runtimes import Outcome, find_runtimes, runtime_table

GPU = {"ONNX Runtime CUDA", "ONNX Runtime RTX", "TensorRT", "TensorRT-RTX"}


def inspection(nodes=("Conv", "Relu"), opset=20, **options):
    counts = dict.fromkeys(nodes, 1)
    return Inspection(
        path=Path("a.onnx"),
        size_bytes=1,
        sha256="",
        card=None,
        **{"kind": "onnx", "nodes": counts, "opset": opset} | options,
    )


def outcomes(found):
    return {each.runtime: each.outcome for each in find_runtimes(found)}


@pytest.mark.parametrize("name", ["photos_onnx", "street_onnx"])
def test_a_plain_export_runs_in_all_that_ci_has(request, name):
    found = outcomes(inspect(request.getfixturevalue(name)))
    assert {runtime for runtime, outcome in found.items() if outcome is Outcome.UNVERIFIED} == GPU
    assert Outcome.NO not in found.values()


def test_an_operator_that_no_test_has_is_unverified():
    assert set(outcomes(inspection(("Conv", "Einsum"))).values()) == {Outcome.UNVERIFIED}


@pytest.mark.parametrize("opset", [0, 11, 16, 27])
def test_an_opset_beyond_the_tested_ones_is_unverified(opset):
    found = find_runtimes(inspection(opset=opset))
    assert {each.outcome for each in found} == {Outcome.UNVERIFIED}
    assert all(f"the file has {opset or 'none'}" in each.reason for each in found)


def test_weights_in_another_file_are_unverified():
    assert set(outcomes(inspection(external=True)).values()) == {Outcome.UNVERIFIED}


def test_a_refused_operator_is_named_with_a_way_that_works():
    found = {each.runtime: each for each in find_runtimes(inspection(("Conv", "QuantizeLinear")))}
    assert found["OpenVINO"].outcome is Outcome.YES
    assert found["ncnn"].outcome is Outcome.NO
    assert found["ncnn"].reason.startswith("QuantizeLinear: ")
    assert "take FP32 or FP16" in found["OpenCV dnn"].reason


@pytest.mark.parametrize(
    ("flavour", "runtime"), [("tensorrt", "TensorRT"), ("tensorrt-rtx", "TensorRT-RTX"), ("", "TensorRT")]
)
def test_an_engine_runs_only_in_its_own_library(flavour, runtime):
    found = outcomes(inspection((), 0, kind="engine", flavour=flavour, version="10.13.3.9"))
    assert found.pop(runtime) is Outcome.UNVERIFIED
    assert set(found.values()) == {Outcome.NO}


def test_every_yes_names_its_test():
    assert all(each.test for each in find_runtimes(inspection()) if each.outcome is Outcome.YES)
    assert len({row.name for row in runtime_table()}) == len(runtime_table())
